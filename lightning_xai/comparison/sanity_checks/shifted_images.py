"""Input invariance: does a constant that the model does not notice change its heatmaps?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least
from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.images import ComparedImages
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.running.bench import Bench
from lightning_xai.comparison.statistics.aggregates import compared, of_setting
from lightning_xai.comparison.statistics.agreement import mean_over_images, similarities
from lightning_xai.comparison.statistics.statistics import mean_interval

if TYPE_CHECKING:
    from lightning_xai.comparison.table import ComparisonTable

_COLUMNS = (
    *("model", "data", "transform", "target", "explainer"),
    *("distance", "error", "low", "high", "agreement", "undefined", "images", "verdict"),
)


def input_invariance(
    table: ComparisonTable, shift: float | Sequence[float] | None = None, *, tolerance: float = 0.01
) -> Records:
    """Return whether heatmaps stay when a constant is added to the images and taken out again by the model.

    The twin f' of each model has another bias in its first layer, so that ``f'(x + c) = f(x)`` for every image (see
    `shifted_twin`): it computes the same in another place. An explainer that explains the function, not where the data
    happen to lie, has the same heatmap of f at x and of f' at x + c. It passes if their distance is below the
    tolerance, as its mean over images and the 95 % bootstrap interval say: the interval is below. It fails if the
    interval is above; with the tolerance inside nothing is decided. What compares with a fixed image, such as a black
    one, cannot be expected to pass.

    The heatmaps of f are those that the comparison kept; those of f' are made here. The random control is drawn for the
    image and is left out with the others.

    Source: Kindermans et al., "The (Un)reliability of Saliency Methods", 2017, https://arxiv.org/abs/1711.00867, who
    look at the heatmaps; distance and tolerance are ours.

    Args:
        table: Of a comparison.
        shift: The constant, one for all channels or one for each; if None, minus the range of the data's values, as in
            the source, where [0, 1] became [-1, 0].
        tolerance: Greatest distance that may come from rounding.

    Returns:
        Per setting and explainer: the distance ``2 |a − b| / (|a| + |b|)`` of the two heatmaps (Euclidean, in [0, 2])
        with its standard error over images and interval, Spearman's correlation of their pixels and for how many images
        that is undefined, the number of images, and ``"passes"``, ``"fails"``, ``"undecided"`` or why there is nothing.

    Raises:
        ValueError: If ``shift`` has not one number per channel or is 0, ``tolerance`` is not above 0, or a model has no
            twin.

    Example:
        >>> from lightning_xai import Comparison, Sample
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> data = Sample(torch.rand(3, 1, 2, 2), labels=torch.tensor([0, 1, 0]))
        >>> table = Comparison(net, data, ["saliency", "input_x_gradient"], "sparseness").run()
        >>> [(row["explainer"], row["verdict"]) for row in input_invariance(table)]
        [('saliency', 'passes'), ('input_x_gradient', 'fails')]
    """
    check_at_least(tolerance, 0.0, "tolerance", strict=True)
    rows = [row for setting in table.settings for row in _checked(table, setting, shift, tolerance)]
    return Records(_COLUMNS, tuple(rows), "Input invariance")


def _checked(
    table: ComparisonTable, setting: Setting, shift: float | Sequence[float] | None, tolerance: float
) -> Iterator[tuple[Any, ...]]:
    """Yield the row of each real explainer that has heatmaps in a setting."""
    images = table.behind.task.images_of(setting)
    kept = {name: table.behind.heatmaps(Cell(setting, name)) for name in compared(table, controls=False)}
    found = {name: maps for name, maps in kept.items() if maps is not None}
    if not found:
        return
    with table.behind.shifted(setting, _shift(images, shift)) as bench:
        for name, maps in found.items():
            yield (*of_setting(setting), name, *_compared(table, bench, name, maps, tolerance))


def _compared(table: ComparisonTable, bench: Bench, name: str, maps: list[Tensor], tolerance: float) -> tuple[Any, ...]:
    try:
        others = bench.heatmaps(table.explainers_by_name[name]).heatmaps
    except Exception as error:
        return (*[math.nan] * 5, 0, 0, f"{type(error).__name__}: {error}")
    distances = torch.cat([_distance(a, b) for a, b in zip(maps, others, strict=True)])
    agreement = mean_over_images(torch.cat(similarities(maps, others, "spearman")))
    estimate, (low, high) = mean_over_images(distances), mean_interval(distances)
    verdict = "passes" if high < tolerance else "fails" if low >= tolerance else "undecided"
    numbers = estimate.value, estimate.error, low, high, agreement.value, agreement.undefined, len(distances)
    return (*numbers, verdict)


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the Euclidean distance of each pair of heatmaps (n, H, W) over the mean of their norms, (n,) in [0, 2].

    Example:
        >>> _distance(torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]])).tolist()
        [2.0, 0.0]
    """
    a, b = first.double().flatten(1), second.double().flatten(1)
    norms = a.norm(dim=1) + b.norm(dim=1)
    return torch.where(norms > 0, 2 * (a - b).norm(dim=1) / norms, 0.0)


def _shift(images: ComparedImages, shift: float | Sequence[float] | None) -> Tensor:
    """Return the constant of each channel, (C, 1, 1).

    Raises:
        ValueError: If it has not one number per channel or is 0.
    """
    channels = len(images.probe.items[0].image)
    if shift is None:
        low, high = images.probe.value_range or (0.0, 1.0)
        shift = low - high
    values = torch.as_tensor(shift, dtype=torch.float32).flatten()
    if len(values) not in {1, channels} or not bool(values.any()) or not bool(values.isfinite().all()):
        raise ValueError(
            f"Expected `shift` to be one number, or one for each of {channels} channels, and not 0, but got {shift}."
        )
    return values.expand(channels)[:, None, None].clone()
