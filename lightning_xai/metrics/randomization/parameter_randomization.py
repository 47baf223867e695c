"""The model parameter randomization test."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate
from lightning_xai.evidence.models.randomized_heatmaps import RandomizedHeatmaps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions
from lightning_xai.metrics.similarity import SIMILARITIES, Similarity, similarity
from lightning_xai.model.randomized import RandomizationOrder


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
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        >>> metric = ParameterRandomization()
        >>> metric.update(model=net, images=torch.ones(1, 1, 3, 3), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()  # a heatmap that does not look at the model stays as it is
        tensor(1.)
    """

    higher_is_better = False
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        order: RandomizationOrder = "top_down",
        num_steps: int = 8,
        similarity: Similarity = "spearman",
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        check_choice(similarity, SIMILARITIES, "similarity")
        super().__init__(**options)
        self.order: RandomizationOrder = order
        self.num_steps = num_steps
        self.similarity: Similarity = similarity
        self.seed = seed
        self.randomized_heatmaps = RandomizedHeatmaps(order, num_steps, seed)

    def score(self, case: Case) -> Tensor:
        """Return the mean similarity over the steps, (N,); NaN where the original is degenerate."""
        original, steps = case.heatmaps, case[self.randomized_heatmaps].unbind(1)
        by_step = [similarity(original, redrawn, self.similarity).nan_to_num(0.0) for redrawn in steps]
        return torch.where(is_degenerate(original), torch.nan, torch.stack(by_step).mean(0))
