"""The efficient model parameter randomization test."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate
from lightning_xai.evidence.models.randomized_heatmaps import RandomizedHeatmaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def efficient_parameter_randomization(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    bins: int = 100,
    order: Literal["top_down", "bottom_up"] = "top_down",
    num_steps: int = 8,
    seed: int = 0,
) -> Tensor:
    """Return the rise of each heatmap's entropy under new parameters, float32 (N,); `EfficientParameterRandomization`.

    Args:
        model: A module or a `Classifier`; its parameters are put back bit for bit.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the intact model, float (N, H, W); made by ``explainer`` if None.
        bins: Of the histogram.
        order: See `EfficientParameterRandomization`.
        num_steps: See `EfficientParameterRandomization`.
        seed: Of the new parameters.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        >>> efficient_parameter_randomization(net, torch.rand(1, 1, 3, 3), CenterHeatmap(), target=0, num_steps=1)
        tensor([0.])
    """
    metric = EfficientParameterRandomization(bins, order, num_steps, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


def histogram_entropy(heatmaps: Tensor, bins: int) -> Tensor:
    """Return the entropy (nats) of the histogram of each heatmap (N, H, W) over its own range, float32 (N,).

    Example:
        >>> histogram_entropy(torch.tensor([[[0.0, 0.1, 0.9, 1.0]]]), bins=2)
        tensor([0.6931])
    """
    flat = heatmaps.flatten(1).double()
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    edges = low + (high - low) * torch.linspace(0.0, 1.0, bins + 1, dtype=flat.dtype, device=flat.device)
    place = (torch.searchsorted(edges, flat.contiguous(), right=True) - 1).clamp(0, bins - 1)
    counts = torch.zeros(len(flat), bins, dtype=flat.dtype, device=flat.device)
    counts.scatter_add_(1, place, torch.ones_like(flat))
    entropy: Tensor = torch.special.entr(counts / flat.shape[1]).sum(1)
    return entropy.float()


class EfficientParameterRandomization(ExplanationMetric):
    """Does the heatmap become less orderly when what the model learned is destroyed?

    ``(h(m_rand) − h(m)) / h(m)``, where m_rand is the heatmap of the fully redrawn model (see `randomized`) and h the
    entropy of a heatmap's histogram of ``bins`` bins over its own range; ≥ -1, higher is better. A constant original
    is undefined; a constant m_rand gives -1. Fake-CAM scores 0: it does not change.

    Evaluations per image: at most ``num_steps`` heatmaps, shared with a cumulative `ParameterRandomization` of the
    same settings. The value does not depend on ``order`` and ``num_steps``: alone, ``num_steps=1`` costs one heatmap.

    Source: Hedström et al., "A Fresh Look at Sanity Checks for Saliency Maps", 2024,
    https://arxiv.org/abs/2405.02383.

    Args:
        bins: Of the histogram.
        order: ``"top_down"`` or ``"bottom_up"``, to share the steps.
        num_steps: Most groups of layers, to share the steps.
        seed: Of the new parameters.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        >>> metric = EfficientParameterRandomization()
        >>> metric.update(model=net, images=torch.rand(1, 1, 3, 3), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()
        tensor(0.)
    """

    higher_is_better = True
    range = (-1.0, float("inf"))
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(
        self,
        bins: int = 100,
        order: Literal["top_down", "bottom_up"] = "top_down",
        num_steps: int = 8,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        check_count(bins, "bins", least=2)
        check_choice(order, ("top_down", "bottom_up"), "order")
        super().__init__([RandomizedHeatmaps(order, num_steps, seed)], {"bins": bins}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the relative rise of entropy, (N,); NaN where the original is degenerate."""
        original = case.heatmaps
        steps: Tensor = case[self.evidence[0]]
        before, after = (histogram_entropy(maps, self.settings["bins"]) for maps in (original, steps[:, -1]))
        after = torch.where(is_degenerate(steps[:, -1]), 0.0, after)
        return torch.where(is_degenerate(original), torch.nan, (after - before) / before)
