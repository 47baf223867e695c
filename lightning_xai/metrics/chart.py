"""Values of metrics as charts: points with error bars, or lines over epochs, inside the range that a metric has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Number: TypeAlias = Tensor | float
Named: TypeAlias = Mapping[Any, Number]
Values: TypeAlias = Number | Named | Sequence[Number] | Sequence[Named]

_MARGIN = 0.08  # of the range, so that a value at its end is seen
_SLANT_FROM = 4  # names beside each other from which they are written aslant
_BEST, _BOUND = "#1a7f37", "0.6"


@dataclass(frozen=True)
class Series:
    """What is drawn under one name.

    Args:
        name: In the legend or below the point.
        values: One per step, NaN where undefined.
        errors: Half length of each value's error bar.
        over_steps: Whether it is a line over steps, or one point.
    """

    name: str
    values: list[float]
    errors: list[float] | None = None
    over_steps: bool = False

    def renamed(self, name: str) -> Series:
        """Return the same values under another name."""
        return replace(self, name=name)


@dataclass(frozen=True)
class Scale:
    """Which values there can be, and which are good.

    Args:
        low: Least value, or -inf.
        high: Greatest value, or inf.
        higher_is_better: None without a direction.
    """

    low: float = -math.inf
    high: float = math.inf
    higher_is_better: bool | None = None

    @classmethod
    def spanning(cls, scales: Sequence[Scale]) -> Scale:
        """Return the scale of a panel that holds metrics of all these; it has a direction if they agree."""
        directions = {scale.higher_is_better for scale in scales}
        ends = [scale.low for scale in scales], [scale.high for scale in scales]
        return cls(min(ends[0]), max(ends[1]), directions.pop() if len(directions) == 1 else None)

    @property
    def unit(self) -> float | None:
        """The greatest magnitude, by which metrics can share a panel; None where there is no end."""
        return max(abs(self.low), abs(self.high)) if math.isfinite(self.high - self.low) else None

    @property
    def best(self) -> float | None:
        """The best value of all, if there is one."""
        end = {True: self.high, False: self.low, None: math.nan}[self.higher_is_better]
        return end if math.isfinite(end) else None

    def with_arrow(self, name: str) -> str:
        """Return ``name`` with the direction in which values get better."""
        return name + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]


def series_of(values: Values, name: str) -> list[Series]:
    """Return what ``values`` say: a number, one per name, or a sequence of either over steps.

    Raises:
        ValueError: If there is no value, or the steps have different names.
    """
    if isinstance(values, Mapping):
        return [Series(str(key), _numbers(value)) for key, value in values.items()]
    if isinstance(values, (int, float, Real)) or (isinstance(values, Tensor) and values.ndim == 0):
        return [Series(name, _numbers(values))]
    steps = list(values)
    if not steps:
        raise ValueError("Expected `val` to hold at least one value, but it is empty.")
    return _over_steps(steps, name)


def _over_steps(steps: Sequence[Any], name: str) -> list[Series]:
    if not isinstance(steps[0], Mapping):
        return [Series(name, [number for step in steps for number in _numbers(step)], over_steps=True)]
    keys = list(steps[0])
    for step in steps:
        if set(step) != set(keys):
            raise ValueError(f"Expected every step of `val` to have the names {keys}, but got {list(step)}.")
    return [Series(str(key), [_numbers(step[key])[0] for step in steps], over_steps=True) for key in keys]


def draw(axes: Axes, series: Sequence[Series], scale: Scale, *, legend: Literal["beside", "inside"] = "beside") -> None:
    """Draw all ``series`` of one scale: lines over steps with a legend, or points with their names below.

    Args:
        axes: Where to draw.
        series: What to draw; a nameless one has no entry in the legend.
        scale: Its range is shown.
        legend: ``"inside"`` the axes where the figure has no room ``"beside"`` it.
    """
    if not any(one.over_steps for one in series):
        _draw_points(axes, series)
    else:
        _draw_lines(axes, series)
        if any(one.name for one in series):
            place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False}
            axes.legend(fontsize="small", **(place if legend == "beside" else {"loc": "best"}))
    _draw_range(axes, scale)


def _numbers(value: Any) -> list[float]:
    numbers = torch.as_tensor(value).detach().cpu().double().flatten()
    if len(numbers) != 1:
        raise ValueError(f"Expected `val` to hold one number per metric and step, but got {len(numbers)} at once.")
    return [float(numbers)]


def _draw_lines(axes: Axes, series: Sequence[Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    for one in series:
        axes.plot(range(len(one.values)), one.values, marker="o", markersize=4, label=one.name)
    place = axes.get_subplotspec()
    if place is None or place.is_last_row():  # panels below each other share the axis of the lowest
        axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="0.9")


def _draw_points(axes: Axes, series: Sequence[Series]) -> None:
    for place, one in enumerate(series):
        axes.errorbar(place, one.values[0], yerr=one.errors, fmt="o", capsize=4)
        if math.isfinite(one.values[0]):
            text, at, coords = f"{one.values[0]:.3g}", one.values[0], "data"
        else:
            text, at, coords = "undefined", 0.5, "axes fraction"
        axes.annotate(
            text, (place, at), (8, 0), xycoords=("data", coords), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_xlim(-0.5, len(series) - 0.2)
    axes.set_xticks(range(len(series)), [one.name for one in series])
    if len(series) >= _SLANT_FROM:
        for label in axes.get_xticklabels():
            label.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")
    axes.grid(axis="y", color="0.9")


def _draw_range(axes: Axes, scale: Scale) -> None:
    """Show the ends of the range, and which of them is the best value."""
    axes.set_axisbelow(True)
    bottom, top = axes.get_ylim()
    low = scale.low if math.isfinite(scale.low) else bottom
    high = scale.high if math.isfinite(scale.high) else max(top, low)
    margin = _MARGIN * ((high - low) or 1.0)
    axes.set_ylim(low - margin, high + margin)
    for end in filter(math.isfinite, (scale.low, scale.high)):
        axes.axhline(end, linestyle="--", linewidth=1.2, color=_BEST if end == scale.best else _BOUND, zorder=1.5)
    if scale.best is not None:
        place, side = (1.0, scale.best), "bottom" if scale.higher_is_better else "top"
        axes.annotate("best ", place, xycoords=("axes fraction", "data"), ha="right", va=side, color=_BEST, fontsize=8)
