"""What was found: about a whole probe, and one explained epoch as a value that everything reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing.answers import Answers
from lightning_xai.probing.validation import Accuracy

Moment: TypeAlias = tuple[int, int]
Name = TypeVar("Name", int, str)

GAIN = "_gain"
ERROR = "_se"


@dataclass(frozen=True, eq=False)
class ImageScores:
    """What one metric says about each image of a probe.

    Attributes:
        keys: Content key of each image, int64 (N,).
        target: The explained class, int64 (N,).
        rows: Values (N,) or (N, D), NaN where undefined.
        metric: Makes them a number.
        sign: Of the number; −1 turns the gain of a metric whose values get better as they fall.
    """

    keys: Tensor
    target: Tensor
    rows: Tensor
    metric: ExplanationMetric
    control_rows: Tensor | None = None
    sign: float = 1.0

    def estimate(self) -> Estimate:
        """Return the mean (or what else the metric makes of its rows), its standard error and the undefined images."""
        if self.control_rows is None:
            return self.metric.estimate(self.rows)
        found = self.metric.difference(self.rows, self.control_rows)
        return replace(found, value=self.sign * found.value)

    @property
    def higher_is_better(self) -> bool | None:
        """Direction of the number; of a gain always up."""
        return True if self.control_rows is not None else self.metric.higher_is_better

    def by(self, names: Sequence[Name]) -> dict[Name, ImageScores]:
        """Return the scores of the images of each name, such as a class or a group, numbers and names in order.

        Args:
            names: Of each image; those below 0, and empty ones, are none.
        """
        known = sorted({name for name in names if name not in ("", -1)}, key=_in_order)
        return {one: self.at(torch.tensor([i for i, name in enumerate(names) if name == one])) for one in known}

    def at(self, places: Tensor) -> ImageScores:
        """Return the scores of some images, by their places (n,)."""
        control = None if self.control_rows is None else self.control_rows[places]
        return replace(
            self, keys=self.keys[places], target=self.target[places], rows=self.rows[places], control_rows=control
        )


@dataclass(frozen=True, eq=False)
class Explained:
    """What is known about each image of one loader's probe; first axis N, in the order of the probe, on the CPU.

    Attributes:
        keys: Content key of each image, int64 (N,).
        labels: Class that each image stands for, int64 (N,), -1 where none.
        target: The explained class, int64 (N,).
        predicted: The most probable class, int64 (N,).
        probabilities: float32 (N, K), or (N, 0) of an epoch of the past, of which they are not kept.
        rows: Explainer -> metric -> values (N,) or (N, D), NaN where undefined.
        control_rows: Metric -> values of the random control.
        metrics: By name, those that gave the rows.
        heatmaps: Explainer -> heatmaps (N, h, w) of at most 56×56, peak 1, float16; empty of an epoch of the past.
            Where images differ in size, each stands in the upper left corner, with NaN beyond its own edges.
        value_range: Least and greatest value of the images, of which noise was a share; None if each image had its own.
        ids: What a reader knows each image by; None if the data do not say, or it is to be kept private.
        peaks: Explainer -> what the peak of each heatmap was before, float32 (N,); empty where `heatmaps` is.
        heat_shares: Explainer -> area that a `ShortcutAlarm` asks about -> share of the heat there, (N,).
        chance_shares: ``"area"`` and ``"center"`` -> area -> the share that is chance, (N,).
        accuracy: Of the whole validation, as its own steps computed it for a `ShortcutAlarm`, else of the probe; None
            without labels, or if read from an old checkpoint.
        groups: To which group each image belongs, such as its site, empty where it has none; None without groups. A
            group is no id: ``private=True`` keeps it.
    """

    keys: Tensor
    labels: Tensor
    target: Tensor
    predicted: Tensor
    probabilities: Tensor
    rows: Mapping[str, Mapping[str, Tensor]]
    control_rows: Mapping[str, Tensor]
    metrics: Mapping[str, ExplanationMetric]
    heatmaps: Mapping[str, Tensor] = field(default_factory=dict)
    value_range: tuple[float, float] | None = None
    ids: Sequence[str] | None = None
    peaks: Mapping[str, Tensor] = field(default_factory=dict)
    heat_shares: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    chance_shares: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    accuracy: Accuracy | None = None
    groups: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def raw_heatmaps(self, explainer: str) -> Tensor:
        """Return the small heatmaps of an explainer in its own units, float32 (N, h, w)."""
        return self.heatmaps[explainer].float() * self.peaks[explainer][:, None, None]

    def scores(self, name: str, explainer: str | None = None) -> ImageScores:
        """Return the values per image of a metric, or its gain over the random control (``<metric>_gain``).

        Args:
            name: Such as ``"faithfulness"`` or ``"faithfulness_gain"``.
            explainer: Which; the only one if None.

        Raises:
            ValueError: If there is no such explainer or metric; the message lists those that there are.
        """
        check_choice(explainer or next(iter(self.rows), None), list(self.rows), "explainer")
        if explainer is None and len(self.rows) > 1:
            raise ValueError(f"Expected `explainer` to be one of {', '.join(self.rows)}, but got None.")
        rows = self.rows[explainer or next(iter(self.rows))]
        gains = [metric + GAIN for metric in self.control_rows]
        check_choice(name, [*rows, *gains], "name")
        if name in rows:
            return ImageScores(self.keys, self.target, rows[name], self.metrics[name])
        base = name.removesuffix(GAIN)
        sign = 1.0 if self.metrics[base].higher_is_better else -1.0
        return ImageScores(self.keys, self.target, rows[base], self.metrics[base], self.control_rows[base], sign)

    def by_class(self, name: str, explainer: str | None = None) -> dict[int, Estimate]:
        """Return the value for the images of each class, with its error; in multi-label data the class they stand for.

        Args:
            name: As of `scores`.
            explainer: As of `scores`.
        """
        classes: list[int] = self.labels.clamp(min=-1).tolist()
        return {one: scores.estimate() for one, scores in self.scores(name, explainer).by(classes).items()}

    def by_group(self, name: str, explainer: str | None = None) -> dict[str, Estimate]:
        """Return the value for the images of each group, with its error; nothing without groups.

        Args:
            name: As of `scores`.
            explainer: As of `scores`.
        """
        scores = self.scores(name, explainer)
        return {one: of_one.estimate() for one, of_one in scores.by(self.groups or [""] * len(self)).items()}

    def numbers_only(self) -> Explained:
        """Return what is kept of a past epoch: no heatmaps, no probabilities."""
        return replace(self, heatmaps={}, peaks={}, probabilities=self.probabilities[:, :0])


@dataclass(frozen=True, eq=False)
class ExplainedEpoch(Mapping[str, float]):
    """One explained validation (or test): what was logged, and every number about every image.

    As a mapping it is its row of ``xai_history.csv``: ``epoch``, ``step``, each logged value that is finite by its full
    key, and its standard error below ``<key>_se``.

    Attributes:
        epoch: From 0.
        step: Of the training, as loggers count it.
        stage: ``"fit"``, ``"validate"`` or ``"test"``.
        estimates: Full key, such as ``"xai/faithfulness"`` -> value, standard error, undefined images.
        loaders: Loader's index -> what is known about the images of its probe; empty if read from an old checkpoint.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        seconds: That explaining took.
        evaluations: Model evaluations of all processes.
        checkpoint: Path of the checkpoint that was validated or tested, if any.
    """

    epoch: int
    step: int
    stage: str
    estimates: Mapping[str, Estimate]
    loaders: Mapping[int, Explained] = field(default_factory=dict)
    task: str = "multiclass"
    seconds: float = math.nan
    evaluations: int = 0
    checkpoint: str | None = None

    def scores(self, name: str, explainer: str | None = None, loader: int = 0) -> ImageScores:
        """Return the values per image of a metric or a gain; see `Explained.scores`."""
        return self._loader(loader).scores(name, explainer)

    def by_class(self, name: str, explainer: str | None = None, loader: int = 0) -> dict[int, Estimate]:
        """Return a metric's, or a gain's, value for each class with its error; see `Explained.by_class`."""
        return self._loader(loader).by_class(name, explainer)

    def by_group(self, name: str, explainer: str | None = None, loader: int = 0) -> dict[str, Estimate]:
        """Return a metric's, or a gain's, value for each group with its error; see `Explained.by_group`."""
        return self._loader(loader).by_group(name, explainer)

    def _loader(self, loader: int) -> Explained:
        check_choice(loader, list(self.loaders), "loader")
        return self.loaders[loader]

    def numbers_only(self) -> ExplainedEpoch:
        """Return what is kept of a past epoch: no heatmaps, no probabilities."""
        return replace(self, loaders={loader: found.numbers_only() for loader, found in self.loaders.items()})

    def __getitem__(self, key: str) -> float:
        return self._row[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __eq__(self, other: object) -> bool:
        return Mapping.__eq__(self, other)

    __hash__ = object.__hash__

    @cached_property
    def _row(self) -> dict[str, float]:
        """The row of the history: only what is finite."""
        row: dict[str, float] = {"epoch": self.epoch, "step": self.step}
        numbers = {key: estimate.value for key, estimate in self.estimates.items()}
        errors = {key + ERROR: estimate.error for key, estimate in self.estimates.items()}
        return row | {key: float(number) for key, number in (numbers | errors).items() if math.isfinite(number)}


def _in_order(name: int | str) -> tuple[bool, int, str]:
    """Return by what names are sorted: 2 before 10, also as texts, and both before words."""
    is_number = str(name).removeprefix("-").isdecimal()
    return not is_number, int(name) if is_number else 0, str(name)


def moment_of(epoch: ExplainedEpoch) -> Moment:
    """Return what tells an explained validation from others of a fit: epoch and step."""
    return epoch.epoch, epoch.step


def difference(a: ImageScores, b: ImageScores) -> Estimate:
    """Return how much ``a`` exceeds ``b``, paired image by image, with the standard error of the paired difference.

    Compares two epochs (or two runs, or two explainers) on the images that both know, for the same explained class.

    Args:
        a: Such as ``monitor.latest.scores("faithfulness_gain")``.
        b: Such as ``monitor.history[0].scores("faithfulness_gain")``.

    Returns:
        Difference of the metric's values on the shared images, its standard error, and how many of them are undefined
        in either; NaN without shared images.

    Raises:
        ValueError: If they are of two metrics.

    Example:
        >>> from lightning_xai import Sparseness
        >>> keys, target = torch.tensor([5, 7]), torch.tensor([0, 1])
        >>> now, before = (
        ...     ImageScores(keys, target, torch.tensor(rows), Sparseness()) for rows in ([0.5, 0.75], [0.25, 0.75])
        ... )
        >>> difference(now, before)
        Estimate(value=0.125, error=0.125, undefined=0)
    """
    if type(a.metric) is not type(b.metric) or a.metric.settings() != b.metric.settings():
        raise ValueError(f"Expected scores of one metric, but got {a.metric!r} and {b.metric!r}.")
    if (a.control_rows is None) != (b.control_rows is None):
        raise ValueError("Expected scores or gains on both sides, but got one of each.")
    a, b = _shared(a, b)
    if not len(a.keys):
        return Estimate(math.nan)
    if a.control_rows is None or b.control_rows is None:
        return a.metric.difference(a.rows, b.rows)
    gains = [a.rows - a.control_rows, b.rows - b.control_rows]
    found = a.metric.difference(gains[0], gains[1])
    return replace(found, value=a.sign * found.value)


def _shared(a: ImageScores, b: ImageScores) -> tuple[ImageScores, ImageScores]:
    """Return the scores of the images, and explained classes, that both sides know, in one order."""
    place = {pair: index for index, pair in enumerate(zip(b.keys.tolist(), b.target.tolist(), strict=True))}
    pairs = [
        (index, place[pair])
        for index, pair in enumerate(zip(a.keys.tolist(), a.target.tolist(), strict=True))
        if pair in place
    ]
    first, second = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    return a.at(first), b.at(second)


def explained(answers: Answers, keys: list[int], labels: list[int], task: str, metrics: Mapping[str, Any]) -> Explained:
    """Return what is known about a probe from the answers about all of its images."""
    logits = answers.logits.cpu()
    probabilities = logits.softmax(1) if task == "multiclass" else logits.sigmoid()
    on_cpu = answers.each(Tensor.cpu)
    return Explained(
        keys=torch.tensor(keys, dtype=torch.int64),
        labels=torch.tensor(labels, dtype=torch.int64),
        target=on_cpu.target,
        predicted=probabilities.argmax(1),
        probabilities=probabilities,
        rows=on_cpu.rows,
        control_rows=on_cpu.control_rows,
        metrics=metrics,
        heatmaps=on_cpu.small_heatmaps,
        peaks=on_cpu.peaks,
        heat_shares=on_cpu.heat_shares,
        chance_shares=on_cpu.chance_shares,
    )
