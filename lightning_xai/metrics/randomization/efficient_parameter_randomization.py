"""The efficient model parameter randomization test."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_choice, check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate
from lightning_xai.evidence.models.randomized_heatmaps import RandomizedHeatmaps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        >>> metric = EfficientParameterRandomization()
        >>> metric.update(model=net, images=torch.ones(1, 1, 3, 3), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()  # a heatmap that does not look at the model keeps its entropy
        tensor(0.)
    """

    higher_is_better = True
    range = (-1.0, float("inf"))
    can_be_undefined = True

    def __init__(
        self,
        bins: int = 100,
        order: Literal["top_down", "bottom_up"] = "top_down",
        num_steps: int = 8,
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        check_count(bins, "bins", least=2)
        check_choice(order, ("top_down", "bottom_up"), "order")
        super().__init__(**options)
        self.bins = bins
        self.order: Literal["top_down", "bottom_up"] = order
        self.num_steps = num_steps
        self.seed = seed
        self.randomized_heatmaps = RandomizedHeatmaps(order, num_steps, seed)

    def score(self, case: Case) -> Tensor:
        """Return the relative rise of entropy, (N,); NaN where the original is degenerate."""
        original, redrawn = case.heatmaps, case[self.randomized_heatmaps][:, -1]
        before, after = histogram_entropy(original, self.bins), histogram_entropy(redrawn, self.bins)
        after = torch.where(is_degenerate(redrawn), 0.0, after)
        return torch.where(is_degenerate(original), torch.nan, (after - before) / before)


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
