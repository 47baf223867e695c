"""The pointing game over the predicted classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least, check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps, ClassMaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.localization.pointing_game import pointing_game
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def pointing_game_recall(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    masks: Tensor,
    *,
    threshold: float = 0.5,
    relative: bool = True,
    num_classes: int = 5,
) -> Tensor:
    """Return the share of predicted classes judged rightly, float32 (N,) in [0, 1]; see `PointingGameRecall`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Annotated class per image, int64 (N,), or one class for all.
        masks: Boolean (N, H, W), the object of that class.
        threshold: Heat below which a class is rejected.
        relative: Whether the threshold is a share of the largest of the classes' maxima, or in the heatmaps' own unit.
        num_classes: Most probable classes that are judged.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> images, masks = torch.rand(1, 1, 3, 3), torch.ones(1, 3, 3, dtype=torch.bool)
        >>> pointing_game_recall(torch.nn.Flatten(), images, CenterHeatmap(), 0, masks, num_classes=9)
        tensor([0.1111])
    """
    metric = PointingGameRecall(threshold, relative, num_classes)
    return metric.score(Case(model, images, target, masks=masks, explainer=explainer))


class PointingGameRecall(ExplanationMetric):
    """Does the explanation point at the annotated class, and at nothing for classes that are not there?

    Each of the five most probable classes is rejected if its maximum is below ``threshold`` times the largest of the
    five maxima (with ``relative=False`` below ``threshold``), or not positive. The annotated class is a hit if it is
    kept and its maximum lies in the mask (the share of its maximal pixels that do, as in `PointingGame`); any other
    class is a hit if it is rejected. Hits over classes, in [0, 1], higher is better; with fewer than five classes, of
    all of them. The target is the annotated class and the mask its object: every other class counts as absent.
    Undefined without a mask. Fake-CAM is rejected for no class, so it scores at most 1/5.

    Evaluations per image: five explanations and 1; the heatmaps are the explainer's, for the five classes.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
    2017, https://arxiv.org/abs/1610.02391, with the threshold of Nagy, Nimara and Qian, "Analysis and Evaluation of
    Grad-CAM Explanations", table 2, in raw units.

    Args:
        threshold: Heat below which a class is rejected.
        relative: Whether the threshold is a share of the largest of the classes' maxima, or in the heatmaps' own unit.
        num_classes: Most probable classes that are judged.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import FakeCAM
        >>> metric = PointingGameRecall()
        >>> images, masks = torch.rand(1, 1, 3, 3), torch.ones(1, 3, 3, dtype=torch.bool)
        >>> metric.update(model=torch.nn.Flatten(), images=images, explainer=FakeCAM(), masks=masks, target=0)
        >>> bool(metric.compute() <= 0.2)
        True
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"masks", "explainer"})
    can_be_undefined = True

    def __init__(self, threshold: float = 0.5, relative: bool = True, num_classes: int = 5, **kwargs: Any) -> None:
        check_at_least(threshold, 0.0, "threshold")
        check_count(num_classes, "num_classes")
        settings = {"threshold": threshold, "relative": relative}
        super().__init__([ClassHeatmaps(num_classes, "confidence", "all")], settings, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the share of classes judged rightly, (N,)."""
        masks, target = case.masks, case.target
        found: ClassMaps = case[self.evidence[0]]
        peaks = found.heatmaps.flatten(2).amax(2)
        scale = peaks.amax(1, keepdim=True) if self.settings["relative"] else 1.0
        kept = (peaks > 0) & (peaks >= self.settings["threshold"] * scale)
        inside = torch.stack([pointing_game(maps, masks) for maps in found.heatmaps.unbind(1)], 1)
        hits = torch.where(found.classes == target[:, None], kept * inside, (~kept).float())
        return torch.where(masks.flatten(1).any(1), hits.mean(1), torch.nan)
