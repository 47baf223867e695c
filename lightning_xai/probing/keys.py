"""The names under which values are logged, what each of them is, and what stands in for one that is missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, check_name
from lightning_xai.metrics.estimate import Estimate, standard_error
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing.breakdown import GAP, WORST_CLASS, WORST_GROUP, breakdown_values
from lightning_xai.probing.explained import GAIN, Explained
from lightning_xai.probing.plan import Plan, has_control

_UNBOUNDED = 1e30
_UNDEFINED = "undefined/"
_CONTROL = "control/"


@dataclass(frozen=True)
class Key:
    """A logged value: its name below the prefix, and the worst finite value that it can have.

    Attributes:
        name: Such as ``"faithfulness"``.
        worst: Stands for the value until there is one; where no direction is known, the end of the range that an early
            stopping of the usual mode ``"min"`` does not prefer.
        higher_is_better: Direction, None if there is none.
    """

    name: str
    worst: float
    higher_is_better: bool | None = None


ALARM_KEY = Key("shortcut_alarm", 0.0, higher_is_better=False)
"""Of each explainer: 1 where the shortcut alarm is raised, else 0, also until something is known: it may end no run."""

SHARED_KEYS = (
    Key("probe_accuracy", 0.0, higher_is_better=True),
    Key("probe_confidence", 1.0),
    Key("seconds", _UNBOUNDED, higher_is_better=False),
    Key("model_evaluations", _UNBOUNDED, higher_is_better=False),
)
"""Keys that do not belong to one explainer."""

OVERHEAD = Key("overhead", 1.0, higher_is_better=False)
"""Share of a fit's time so far that explaining took."""


@dataclass(frozen=True)
class Keys:
    """The keys of a plan.

    Attributes:
        plan: What is asked.
        prefix: First part of every key.
        num_images: Size of the probe, at most.
        breakdown: Names of metrics and gains of which the worst class and group, and the gap, are logged.
        budgeted: Whether the share of the fit's time is among them.

    Raises:
        ValueError: If two values have one key, or ``breakdown`` names what is not logged or has no better direction.
    """

    plan: Plan
    prefix: str
    num_images: int
    breakdown: tuple[str, ...] = ()
    budgeted: bool = False

    def full(self, key: str, *, explainer: str | None = None, loader: int | None = None) -> str:
        """Return the full name of a key, such as ``xai/grad_cam/faithfulness/dataloader_idx_1``.

        Args:
            key: Name of a `Key`.
            explainer: Part of the name only where there are several.
            loader: Index of the loader, None where there is one.
        """
        named = explainer if len(self.plan.explainers) > 1 else None
        suffix = None if loader is None else f"dataloader_idx_{loader}"
        return "/".join(part for part in (self.prefix, named, key, suffix) if part is not None)

    @property
    def names(self) -> list[str]:
        """Names of the metrics that are scored, and of their gains, such as ``"faithfulness_gain"``."""
        return sorted(_directions(self.plan))

    def all(self, *, annotated: bool, grouped: bool = True, loaders: Sequence[int] = (0,)) -> dict[str, Key]:
        """Return every key that will be logged, by its full name.

        Args:
            annotated: Whether images have masks or boxes.
            grouped: Whether images have groups.
            loaders: Indices of the validation loaders.
        """
        keys: dict[str, Key] = {}
        for loader in loaders:
            keys.update(self.of_loader(loader if len(loaders) > 1 else None, annotated=annotated, grouped=grouped))
        return keys

    def of_loader(self, loader: int | None, *, annotated: bool, grouped: bool = True) -> dict[str, Key]:
        """Return the keys of one loader by their full names; ``loader`` is None where there is one."""
        return dict(self._named(loader, annotated=annotated, grouped=grouped))

    def __post_init__(self) -> None:
        """Check that no two values have one key, and that what is broken down can be."""
        _check_breakdown(self.breakdown, self.plan)
        counts = Counter(name for name, _ in self._named(None, annotated=True, grouped=True))
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(
                f"Expected names in `metrics` and `explainers` that give every value its own key, but several give "
                f"{', '.join(map(repr, twice))}."
            )

    def _named(self, loader: int | None, *, annotated: bool, grouped: bool) -> Iterator[tuple[str, Key]]:
        for key in (*SHARED_KEYS, OVERHEAD) if self.budgeted else SHARED_KEYS:
            yield self.full(key.name, loader=loader), key
        for name, metric in self.plan.metrics(annotated=annotated).items():
            for explainer in self.plan.explainers:
                own = metric_keys(name, metric, self.num_images)
                for key in (*own, *breakdown_keys(own, metric, self.breakdown, grouped=grouped)):
                    yield self.full(key.name, explainer=explainer, loader=loader), key
            for key in control_keys(name, metric):
                yield self.full(key.name, loader=loader), key
        for explainer in self.plan.explainers if self.plan.alarm is not None else ():
            yield self.full(ALARM_KEY.name, explainer=explainer, loader=loader), ALARM_KEY

    def values(self, found: Explained, task: str, loader: int | None) -> dict[str, Estimate]:
        """Return what is logged about one loader's probe by full key, but for seconds and evaluations."""
        shared = {**probe_values(found, task), **control_values(found)}
        values = {self.full(key, loader=loader): value for key, value in shared.items()}
        for explainer in found.rows:
            of_explainer = metric_values(found, explainer)
            if self.breakdown:
                of_explainer |= breakdown_values(found, explainer, self.breakdown)
            for key, value in of_explainer.items():
                values[self.full(key, explainer=explainer, loader=loader)] = value
        return values


def metric_keys(name: str, metric: ExplanationMetric, num_images: int) -> list[Key]:
    """Return the keys of one metric: its mean, its gain over the control, its count of undefined images."""
    keys = [Key(name, _worst(metric), metric.higher_is_better)]
    if has_control(metric):
        spread = metric.range[1] - metric.range[0]
        keys.append(Key(name + GAIN, -_finite(spread), higher_is_better=True))
    if metric.can_be_undefined:
        keys.append(Key(_UNDEFINED + name, float(num_images), higher_is_better=False))
    return keys


def breakdown_keys(
    keys: Sequence[Key], metric: ExplanationMetric, names: Sequence[str], *, grouped: bool
) -> Iterator[Key]:
    """Yield the keys of the worst class, of the worst group, and of the gap, of those keys of a metric that are named.

    Args:
        keys: Of the metric, its own first.
        metric: Whose range says how wide the gap can be.
        names: Of those that are broken down.
        grouped: Whether images have groups.
    """
    spread = metric.range[1] - metric.range[0]
    for key in keys:
        if key.name in names:
            for part in (WORST_CLASS, WORST_GROUP) if grouped else (WORST_CLASS,):
                yield Key(part + key.name, key.worst, key.higher_is_better)
            widest = spread if key is keys[0] else 2 * spread
            yield Key(GAP + key.name, _finite(widest), higher_is_better=False)


def control_keys(name: str, metric: ExplanationMetric) -> list[Key]:
    """Return the keys of a metric's value for the random control."""
    return [Key(_CONTROL + name, _worst(metric), metric.higher_is_better)] if has_control(metric) else []


def metric_values(found: Explained, explainer: str) -> dict[str, Estimate]:
    """Return the values of one explainer by the name of their `Key`."""
    values: dict[str, Estimate] = {}
    for name in found.rows[explainer]:
        values[name] = found.scores(name, explainer).estimate()
        if name in found.control_rows:
            values[name + GAIN] = found.scores(name + GAIN, explainer).estimate()
        if found.metrics[name].can_be_undefined or values[name].undefined:
            values[_UNDEFINED + name] = Estimate(float(values[name].undefined))
    return values


def control_values(found: Explained) -> dict[str, Estimate]:
    """Return the values of the random control by the name of their `Key`."""
    return {_CONTROL + name: found.metrics[name].estimate(rows) for name, rows in found.control_rows.items()}


def probe_values(found: Explained, task: str) -> dict[str, Estimate]:
    """Return accuracy and confidence on the probe.

    Args:
        found: About its images; those without a label are left out of the accuracy.
        task: ``"multilabel"`` asks whether the label's probability exceeds 0.5; else whether it is the greatest.
    """
    confidence = _probability_of_label(found) if task == "multilabel" else found.probabilities.amax(1)
    correct = correct_on_probe(found, task)
    return {"probe_accuracy": _mean(correct[found.labels >= 0].float()), "probe_confidence": _mean(confidence)}


def correct_on_probe(found: Explained, task: str) -> Tensor:
    """Return whether the model is right about each image, boolean (N,); it means nothing for those without a label.

    Args:
        found: About a probe, with its probabilities.
        task: See `probe_values`.
    """
    if task != "multilabel":
        return found.predicted == found.labels
    return _probability_of_label(found) > 0.5


def _probability_of_label(found: Explained) -> Tensor:
    """Return the probability of the class that each image stands for, else of the explained one, (N,)."""
    asked = torch.where(found.labels >= 0, found.labels, found.target)
    return found.probabilities.gather(1, asked[:, None])[:, 0]


def stripped_prefix(prefix: object) -> str:
    """Return ``prefix`` without slashes around it.

    Raises:
        TypeError: If it is no string.
        ValueError: If nothing is left, or a part of it cannot be a name.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"Expected `prefix` to be a word such as 'xai', but got {type(prefix).__name__}.")
    if not prefix.strip("/"):
        raise ValueError(f"Expected `prefix` to be a word such as 'xai', but got {prefix!r}.")
    return check_name(prefix.strip("/"), "prefix")


def names_of(breakdown: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names in ``breakdown``.

    Raises:
        TypeError: If one is no string.
    """
    names = (breakdown,) if isinstance(breakdown, str) else tuple(breakdown or ())
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"Expected `breakdown` to hold names of metrics, but got {type(name).__name__}.")
    return names


def _directions(plan: Plan) -> dict[str, bool | None]:
    """Return the names of metrics and gains, and whether higher is better."""
    return {
        key.name: key.higher_is_better
        for name, metric in plan.metrics(annotated=True).items()
        for key in metric_keys(name, metric, 0)
        if not key.name.startswith(_UNDEFINED)
    }


def _check_breakdown(names: Sequence[str], plan: Plan) -> None:
    known = _directions(plan)
    for name in names:
        check_choice(name, sorted(known), "breakdown")
        if known[name] is None:
            directed = ", ".join(sorted(one for one, higher in known.items() if higher is not None))
            raise ValueError(
                f"Expected `breakdown` to name metrics of which a worst value is known, {directed}, but got {name!r}, "
                "which has no better direction."
            )


def _worst(metric: ExplanationMetric) -> float:
    low, high = metric.range
    return _finite(low if metric.higher_is_better else high)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.copysign(_UNBOUNDED, value)


def _mean(values: Tensor) -> Estimate:
    if not len(values):
        return Estimate(math.nan)
    return Estimate(float(values.mean()), float(standard_error(values)))
