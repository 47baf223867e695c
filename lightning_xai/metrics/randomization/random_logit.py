"""The random logit test."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions
from lightning_xai.metrics.similarity import SIMILARITIES, Similarity, similarity


class RandomLogit(ExplanationMetric):
    """Does the heatmap change when another class is explained?

    Similarity of the heatmaps of the target and of one other class, drawn for the image: `ssim` of the min-max
    normalised heatmaps, or Spearman's correlation. In [-1, 1], lower is better: a map that is the same for any class
    explains none. Undefined where one of the two heatmaps is constant. Fake-CAM scores 1, the worst.

    Evaluations per image: one heatmap and 1.

    Source: Sixt, Granz and Landgraf, "When Explanations Lie: Why Many Modified BP Attributions Fail", ICML 2020,
    https://arxiv.org/abs/1912.09818.

    Args:
        similarity: ``"ssim"`` or ``"spearman"``.
        seed: Of the other class.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``similarity`` is unknown; when updated, if the model has only one class.

    Example:
        >>> import torch
        >>> from lightning_xai import Saliency
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2))
        >>> net[1].weight.data = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])  # the heatmaps of the two classes
        >>> metric = RandomLogit("spearman")
        >>> metric.update(model=net, images=torch.ones(1, 1, 1, 3), explainer=Saliency(), target=0)
        >>> metric.compute()
        tensor(-1.)
    """

    higher_is_better = False
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(self, similarity: Similarity = "ssim", seed: int = 0, **options: Unpack[MetricOptions]) -> None:
        check_choice(similarity, SIMILARITIES, "similarity")
        super().__init__(**options)
        self.similarity: Similarity = similarity
        self.seed = seed
        self.other_class = ClassHeatmaps(1, "seed", "others", seed)

    def score(self, case: Case) -> Tensor:
        """Return the similarity of the two classes' heatmaps, (N,)."""
        return similarity(case.heatmaps, case[self.other_class].heatmaps[:, 0], self.similarity)
