"""The random logit test."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps, ClassMaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.similarity import SIMILARITIES, Similarity, similarity
from lightning_xai.model.classifier import Model


def random_logit(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    similarity: Similarity = "ssim",
    seed: int = 0,
) -> Tensor:
    """Return how similar each heatmap is to another class's, float32 (N,) in [-1, 1]; see `RandomLogit`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the target, float (N, H, W); made by ``explainer`` if None.
        similarity: ``"ssim"`` or ``"spearman"``.
        seed: Of the other class.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> random_logit(torch.nn.Flatten(), torch.rand(1, 1, 3, 3), CenterHeatmap(), target=0)
        tensor([1.])
    """
    metric = RandomLogit(similarity, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``similarity`` is unknown; when updated, if the model has only one class.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> metric = RandomLogit()
        >>> metric.update(model=torch.nn.Flatten(), images=torch.rand(1, 1, 3, 3), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = False
    range = (-1.0, 1.0)
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(self, similarity: Similarity = "ssim", seed: int = 0, **kwargs: Any) -> None:
        check_choice(similarity, SIMILARITIES, "similarity")
        super().__init__([ClassHeatmaps(1, "seed", "others", seed)], {"similarity": similarity}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the similarity of the two classes' heatmaps, (N,)."""
        other: ClassMaps = case[self.evidence[0]]
        return similarity(case.heatmaps, other.heatmaps[:, 0], self.settings["similarity"])
