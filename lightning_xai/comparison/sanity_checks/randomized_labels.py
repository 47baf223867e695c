"""The data randomisation test: do heatmaps change when the labels that a model was trained on mean nothing?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.statistics.agreement import Agreement, mean_over_images
from lightning_xai.comparison.statistics.statistics import mean_interval
from lightning_xai.metrics.similarity import Similarity

if TYPE_CHECKING:
    from lightning_xai.comparison.table import ComparisonTable

_COLUMNS = (
    *("data", "transform", "target", "explainer"),
    *("agreement", "error", "low", "high"),
    *("retrained", "difference", "difference_low", "difference_high"),
    *("undefined", "images", "verdict"),
)


def data_randomization(
    table: ComparisonTable,
    model: str,
    randomized: str,
    *,
    retrained: str | None = None,
    threshold: float = 0.5,
    by: Similarity = "spearman",
) -> Records:
    """Return whether heatmaps depend on what a model has learned from the labels.

    A network is trained as the model was, on the same images with permuted labels: it fits them, but there is nothing
    to explain. An explainer passes if its heatmaps of the two agree little, as its mean over images and the 95 %
    bootstrap interval say: the interval is below the threshold. It fails if the interval is above; with the threshold
    inside nothing is decided. Controls look at no model, agree with themselves and fail.

    How much two networks agree that were both trained on the true labels, from another seed, is the better measure: if
    ``retrained`` is given, an explainer passes if its heatmaps agree more with that network's than with the randomised
    one's, image by image (the interval of the difference is above 0), and fails if not more (it is not above 0).

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", 2018, https://arxiv.org/abs/1810.03292, who show rank
    correlations and structural similarities without a threshold: .5 is ours, a convention.

    Args:
        table: Of a comparison of these models.
        model: Name of the model that was trained on the true labels.
        randomized: Name of the one that was trained on permuted labels.
        retrained: Name of another one that was trained on the true labels.
        threshold: Of the agreement, without ``retrained``.
        by: ``"spearman"`` or ``"ssim"``.

    Returns:
        Per data, transform, rule which class is explained, and explainer: the agreement of the model's heatmaps with
        the randomised one's (see `ComparisonTable.agreement`) with its standard error and interval, the same of the
        retrained one, the difference with its interval, undefined images, images, and ``"passes"``, ``"fails"`` or
        ``"undecided"``.

    Raises:
        ValueError: If a name is unknown or given twice, or ``threshold`` is outside (-1, 1).

    Example:
        >>> import torch
        >>> from lightning_xai import Comparison, Sample
        >>> nets = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)) for _ in range(2)]
        >>> models = {"net": nets[0], "random": nets[1]}
        >>> data = Sample(torch.rand(5, 1, 2, 2), labels=torch.tensor([0, 1, 0, 1, 1]))
        >>> table = Comparison(models, data, "saliency", "sparseness").run()
        >>> checked = data_randomization(table, "net", "random")
        >>> [row["verdict"] for row in checked.where(explainer="fake_cam")]
        ['fails']
    """
    names = [name for name in (model, randomized, retrained) if name is not None]
    known = list(dict.fromkeys(setting.model for setting in table.settings))
    for argument, name in zip(("model", "randomized", "retrained"), names, strict=False):
        check_choice(name, known, argument)
    if len(set(names)) < len(names):
        raise ValueError(f"Expected `model`, `randomized` and `retrained` to differ, but got {', '.join(names)}.")
    if not -1 < threshold < 1:
        raise ValueError(f"Expected `threshold` to lie between -1 and 1, but got {threshold}.")
    rows = [
        (*one.place[1:], *_found(one.of(model, randomized), _of_retrained(one, model, retrained), threshold))
        for one in table.only(models=names).agreements("models", by)
        if {model, randomized} <= set(one.names)
    ]
    return Records(_COLUMNS, tuple(rows), f"Data randomisation: {model} beside {randomized}")


def _of_retrained(one: Agreement, model: str, retrained: str | None) -> Tensor | None:
    return one.of(model, retrained) if retrained in one.names and retrained is not None else None


def _found(values: Tensor, others: Tensor | None, threshold: float) -> tuple[Any, ...]:
    """Return the numbers and the verdict of an explainer."""
    estimate, (low, high) = mean_over_images(values), mean_interval(values)
    numbers = estimate.value, estimate.error, low, high
    if others is None:
        verdict = _verdict(low=-high, high=-low, least=-threshold)
        return (*numbers, *[math.nan] * 4, estimate.undefined, len(values), verdict)
    more = others.double() - values.double()
    low, high = mean_interval(more)
    beside = mean_over_images(others).value, mean_over_images(more).value, low, high
    return (*numbers, *beside, estimate.undefined, len(values), _verdict(low=low, high=high, least=0.0))


def _verdict(*, low: float, high: float, least: float) -> str:
    """Return whether an interval lies above a number, or not above it at all."""
    if low > least:
        return "passes"
    return "fails" if high <= least else "undecided"
