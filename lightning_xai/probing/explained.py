"""What was found: about a batch, about a whole probe, and one explained epoch as a value that everything reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._checks import check_choice
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing.image_scores import ImageScores
from lightning_xai.probing.validation import Accuracy

Moment: TypeAlias = tuple[int, int]

GAIN = "_gain"
ERROR = "_se"


@dataclass(frozen=True)
class Answers:
    """What model, explainers and metrics say about a batch; first axis N throughout.

    Attributes:
        logits: float32 (N, K).
        target: The explained class, int64 (N,).
        rows: Explainer -> metric -> values (N,) or (N, D), NaN where undefined.
        control_rows: Metric -> values of the random control.
        heatmaps: Explainer -> raw heatmaps (N, H, W); of images of several sizes NaN beyond the edges of smaller ones.
        small_heatmaps: Explainer -> the same at most 56×56, peak 1, float16.
        peaks: Explainer -> what the peak of each small heatmap was before, float32 (N,).
        heat_shares: Explainer -> area -> share of the heat there, (N,), of the areas that a `ShortcutAlarm` asks about.
        chance_shares: ``"area"`` and ``"center"`` -> area -> the share that is chance, (N,).
    """

    logits: Tensor
    target: Tensor
    rows: dict[str, dict[str, Tensor]]
    control_rows: dict[str, Tensor]
    heatmaps: dict[str, Tensor]
    small_heatmaps: dict[str, Tensor]
    peaks: dict[str, Tensor] = field(default_factory=dict)
    heat_shares: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    chance_shares: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def each(self, change: Callable[..., Tensor], *others: Answers) -> Answers:
        """Return the same with ``change`` made to every tensor, such as gathering the rows of all processes.

        Args:
            change: A function of a tensor, and of those in the same place of ``others``.
            others: Answers to the same questions.
        """

        def changed(*parts: Any) -> Any:
            if isinstance(parts[0], Tensor):
                return change(*parts)
            return {name: changed(*(part[name] for part in parts)) for name in parts[0]}

        every = (self, *others)
        return Answers(**{one.name: changed(*(getattr(part, one.name) for part in every)) for one in fields(self)})


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


def moment_of(epoch: ExplainedEpoch) -> Moment:
    """Return what tells an explained validation from others of a fit: epoch and step."""
    return epoch.epoch, epoch.step


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


def joined(answers: Sequence[Answers], places: Sequence[Sequence[int]]) -> Answers:
    """Return the answers about a whole probe from those about its groups of images of one size.

    Args:
        answers: About each group.
        places: Where the images of each group stand in the probe.

    Raises:
        ValueError: If a metric returns another number of columns for images of another size, which cannot be one value.
    """
    order = torch.tensor([place for group in places for place in group]).argsort()
    first, *others = answers
    return first.each(lambda *parts: torch.cat(_filled_up(parts))[order], *others) if others else first


def _filled_up(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors (n, ...) that can stand in one: heatmaps (n, h, w) with NaN up to the largest sides."""
    shapes = [part.shape[1:] for part in parts]
    if len(set(shapes)) == 1:
        return list(parts)
    if parts[0].ndim != 3:
        raise ValueError(
            "Expected as many numbers per image whatever its size, because images of several sizes make one value, "
            f"but `score` of a metric returns rows of {sorted(map(tuple, shapes))}."
        )
    height, width = (max(shape[side] for shape in shapes) for side in (0, 1))
    return [F.pad(part, (0, width - part.shape[2], 0, height - part.shape[1]), value=math.nan) for part in parts]
