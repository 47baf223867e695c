"""The names under which values are logged, and what stands in for a value that is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_xai.metrics.metric import ExplanationMetric

_UNBOUNDED = 1e30
UNDEFINED = "undefined/"
CONTROL = "control/"
GAIN = "_gain"


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


SHARED_KEYS = (
    Key("probe_accuracy", 0.0, higher_is_better=True),
    Key("probe_confidence", 1.0),
    Key("seconds", _UNBOUNDED, higher_is_better=False),
    Key("model_evaluations", _UNBOUNDED, higher_is_better=False),
)
"""Keys that do not belong to one explainer."""


def metric_keys(name: str, metric: ExplanationMetric, num_images: int) -> list[Key]:
    """Return the keys of one metric: its mean, its gain over the control, its count of undefined images."""
    keys = [Key(name, _worst(metric), metric.higher_is_better)]
    if has_control(metric):
        spread = metric.range[1] - metric.range[0]
        keys.append(Key(name + GAIN, -_finite(spread), higher_is_better=True))
    if metric.can_be_undefined:
        keys.append(Key(UNDEFINED + name, float(num_images), higher_is_better=False))
    return keys


def control_keys(name: str, metric: ExplanationMetric) -> list[Key]:
    """Return the keys of a metric's value for the random control."""
    return [Key(CONTROL + name, _worst(metric), metric.higher_is_better)] if has_control(metric) else []


def has_control(metric: ExplanationMetric) -> bool:
    """Return whether the random control is scored with a metric: it says something only next to a random map's."""
    return metric.logs_gain and not metric.needs


def stripped_prefix(prefix: object) -> str:
    """Return ``prefix`` without slashes around it.

    Raises:
        TypeError: If it is no string.
        ValueError: If nothing is left.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"Expected `prefix` to be a word such as 'xai', but got {type(prefix).__name__}.")
    if not prefix.strip("/"):
        raise ValueError(f"Expected `prefix` to be a word such as 'xai', but got {prefix!r}.")
    return prefix.strip("/")


def listed(names: Sequence[str]) -> str:
    """Return names one after the other for an error message."""
    return ", ".join(sorted(names))


def _worst(metric: ExplanationMetric) -> float:
    low, high = metric.range
    return _finite(low if metric.higher_is_better else high)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.copysign(_UNBOUNDED, value)
