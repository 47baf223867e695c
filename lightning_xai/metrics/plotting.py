"""What ``plot`` of a metric and of a suite draw: the surface is that of `torchmetrics`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_xai.metrics.chart import Scale, Series, Values, draw, series_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_xai.metrics.metric import ExplanationMetric

_WIDTH, _HEIGHT, _PANEL = 6.4, 3.8, 2.2  # inches
_TITLE_WIDTH = 75  # characters


def plot_metric(metric: ExplanationMetric, val: Values | None, ax: Axes | None) -> tuple[Figure, Axes]:
    """Draw one metric; see `ExplanationMetric.plot`."""
    axes = _new_axes()[0] if ax is None else ax
    scale = _scale(metric)
    draw(axes, _computed(metric, "") if val is None else series_of(val, ""), scale, legend=_legend(ax))
    axes.set_ylabel(scale.with_arrow(metric.key))
    question = (type(metric).__doc__ or "").strip().splitlines()[:1]
    axes.set_title(fill("".join(question), _TITLE_WIDTH), fontsize="medium")
    return _figure(axes), axes


def plot_each(metrics: Mapping[str, Metric], val: Any, ax: Any) -> list[tuple[Figure, Axes]]:
    """Draw each metric of a suite into axes of its own; see `MetricSuite.plot`."""
    every_axes = [_new_axes()[0] for _ in metrics] if ax is None else list(np.ravel(ax))
    if len(every_axes) != len(metrics):
        raise ValueError(
            f"Expected `ax` to hold one axes per metric, {len(metrics)}, but got {len(every_axes)}; "
            "`together=True` draws all metrics into one."
        )
    drawn = []
    for axes, (name, metric) in zip(every_axes, metrics.items(), strict=True):
        metric.plot(_value_of(val, name), axes)
        axes.set_ylabel(_scale(metric).with_arrow(name))
        drawn.append((_figure(axes), axes))
    return drawn


def plot_together(metrics: Mapping[str, Metric], val: Any, ax: Axes | None) -> tuple[Figure, Any]:
    """Draw all metrics of a suite into one figure, one panel per scale, or into ``ax``; see `MetricSuite.plot`."""
    panels: dict[Any, list[tuple[Series, Scale]]] = {}
    for name, metric in metrics.items():
        scale, value = _scale(metric), _value_of(val, name)
        key = "all" if ax is not None else scale.unit or name
        for series in _computed(metric, name) if val is None else series_of(value, name):
            panels.setdefault(key, []).append((series.renamed(scale.with_arrow(series.name)), scale))
    if ax is not None:
        draw(ax, [series for series, _ in panels["all"]], Scale(), legend="inside")
        return _figure(ax), ax
    over_steps = any(series.over_steps for panel in panels.values() for series, _ in panel)
    every_axes = _new_axes([len(panel) for panel in panels.values()], below=over_steps)
    for axes, panel in zip(every_axes, panels.values(), strict=True):
        draw(axes, [series for series, _ in panel], Scale.spanning([scale for _, scale in panel]))
    return _figure(every_axes[0]), every_axes[0] if len(every_axes) == 1 else np.array(every_axes)


def _value_of(val: Any, name: str) -> Any:
    """Return what ``val``, a suite's value or a sequence of them over steps, says about one metric."""
    if val is None:
        return None
    steps = [val] if isinstance(val, Mapping) else list(val)
    for step in steps:
        if name not in step:
            raise ValueError(f"Expected `val` to hold a value of {name!r}, but got {', '.join(step) or 'nothing'}.")
    return _one_number(val[name], name) if isinstance(val, Mapping) else [step[name] for step in steps]


def _one_number(value: Any, name: str) -> Any:
    """Return the value of a single step, which an array would make several steps of."""
    if isinstance(value, Mapping) or torch.as_tensor(value).numel() != 1:
        got = "several by name" if isinstance(value, Mapping) else torch.as_tensor(value).numel()
        raise ValueError(f"Expected {name or 'the metric'} to have one number, but got {got}: draw it by itself.")
    return torch.as_tensor(value).squeeze()


def _scale(metric: Metric) -> Scale:
    own: tuple[float, float] | None = getattr(metric, "range", None)
    if own is not None:
        return Scale(*own, metric.higher_is_better)
    low, high = metric.plot_lower_bound, metric.plot_upper_bound
    return Scale(-math.inf if low is None else low, math.inf if high is None else high, metric.higher_is_better)


def _computed(metric: Metric, name: str) -> list[Series]:
    (series,) = series_of(_one_number(metric.compute(), name), name)
    error_of: Callable[[], Tensor] | None = getattr(metric, "standard_error", None)
    if error_of is None or metric.distributed_available_fn():  # of several processes' images, only one's are here
        return [series]
    error = float(error_of())
    return [series if math.isnan(error) else Series(name, series.values, [error])]


def _legend(ax: Axes | None) -> Literal["beside", "inside"]:
    return "beside" if ax is None else "inside"


def _figure(axes: Axes) -> Figure:
    figure: Figure = axes.figure  # type: ignore[assignment]
    return figure


def _new_axes(panels: Sequence[int] = (1,), *, below: bool = True) -> list[Axes]:
    """Return axes in a figure of their own, which pyplot does not know and need not close.

    Args:
        panels: How many metrics each of the axes will hold.
        below: Below each other, for lines over common steps; beside each other otherwise.
    """
    from matplotlib.figure import Figure

    count = len(panels)
    if below:
        figure = Figure(figsize=(_WIDTH, max(_HEIGHT, _PANEL * count)), layout="constrained")
        return list(figure.subplots(count, sharex=True, squeeze=False)[:, 0])
    figure = Figure(figsize=(max(_WIDTH, 1.2 * count + 0.6 * sum(panels)), _HEIGHT), layout="constrained")
    return list(figure.subplots(1, count, squeeze=False, width_ratios=[1 + number for number in panels])[0])
