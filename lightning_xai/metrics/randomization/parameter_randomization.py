"""The model parameter randomization test."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate
from lightning_xai.evidence.models.randomized_heatmaps import RandomizedHeatmaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.similarity import SIMILARITIES, Similarity, similarity
from lightning_xai.model.classifier import Model
from lightning_xai.model.randomized import Order


def parameter_randomization(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    order: Order = "top_down",
    num_steps: int = 8,
    similarity: Similarity = "spearman",
    seed: int = 0,
) -> Tensor:
    """Return how similar each heatmap stays under new parameters, float32 (N,) in [-1, 1]; `ParameterRandomization`.

    Args:
        model: A module or a `Classifier`; its parameters are put back bit for bit.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the intact model, float (N, H, W); made by ``explainer`` if None.
        order: ``"top_down"``, ``"bottom_up"`` (both cumulative) or ``"independent"``.
        num_steps: Most groups of layers.
        similarity: ``"spearman"`` or ``"ssim"``.
        seed: Of the new parameters.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        >>> parameter_randomization(net, torch.rand(1, 1, 3, 3), CenterHeatmap(), target=0)
        tensor([1.])
    """
    metric = ParameterRandomization(order, num_steps, similarity, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


class ParameterRandomization(ExplanationMetric):
    """Does the heatmap change when what the model learned is destroyed?

    The model's layers are redrawn in at most ``num_steps`` groups (see `randomized`: every parameter, statistics of
    normalisation layers too) and the image is explained after each. The value is the mean over the steps, without the
    intact model, of the similarity to the original heatmap: Spearman's correlation, or `ssim` of the min-max
    normalised heatmaps. In [-1, 1], lower is better; a step with a constant heatmap counts 0, a constant original is
    undefined. Fake-CAM scores 1, the worst.

    Evaluations per image: at most ``num_steps`` heatmaps.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, https://arxiv.org/abs/1810.03292. Quantus
    0.6 leaves parameters alone whose module has no ``reset_parameters``, and averages the original in.

    Args:
        order: ``"top_down"``, from the output on, or ``"bottom_up"``, both cumulative; or ``"independent"``.
        num_steps: Most groups of layers.
        similarity: ``"spearman"`` or ``"ssim"``.
        seed: Of the new parameters.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        >>> metric = ParameterRandomization()
        >>> metric.update(model=net, images=torch.rand(1, 1, 3, 3), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = False
    range = (-1.0, 1.0)
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(
        self,
        order: Order = "top_down",
        num_steps: int = 8,
        similarity: Similarity = "spearman",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        check_choice(similarity, SIMILARITIES, "similarity")
        super().__init__([RandomizedHeatmaps(order, num_steps, seed)], {"similarity": similarity}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the mean similarity over the steps, (N,); NaN where the original is degenerate."""
        original = case.heatmaps
        steps: Tensor = case[self.evidence[0]]
        found = [similarity(original, maps, self.settings["similarity"]).nan_to_num(0.0) for maps in steps.unbind(1)]
        return torch.where(is_degenerate(original), torch.nan, torch.stack(found).mean(0))
