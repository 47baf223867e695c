"""The pointing game over the predicted classes."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps
from lightning_xai.metrics.localization.pointing_game import share_of_peak_inside
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import Saliency
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 3))
        >>> net[1].weight.data = torch.tensor([[0.0, 4.0], [3.0, 0.0], [1.0, 0.0]])  # the heatmaps of the three classes
        >>> images, masks = torch.ones(1, 1, 1, 2), torch.tensor([[[False, True]]])
        >>> metric = PointingGameRecall()
        >>> metric.update(model=net, images=images, explainer=Saliency(), masks=masks, target=0)
        >>> metric.compute()  # the first points at the object, 3 is not below half of 4, 1 is
        tensor(0.6667)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"masks", "target"})
    can_be_undefined = True

    def __init__(
        self,
        threshold: float = 0.5,
        relative: bool = True,
        num_classes: int = 5,
        **options: Unpack[MetricOptions],
    ) -> None:
        check_at_least(threshold, 0.0, "threshold")
        super().__init__(**options)
        self.threshold = threshold
        self.relative = relative
        self.num_classes = num_classes
        self.class_heatmaps = ClassHeatmaps(num_classes, "confidence", "all")

    def score(self, case: Case) -> Tensor:
        """Return the share of classes judged rightly, (N,)."""
        masks, judged = case.masks, case[self.class_heatmaps]
        peaks = judged.heatmaps.flatten(2).amax(2)
        scale = peaks.amax(1, keepdim=True) if self.relative else 1.0
        kept = (peaks > 0) & (peaks >= self.threshold * scale)
        inside = torch.stack([share_of_peak_inside(heatmaps, masks) for heatmaps in judged.heatmaps.unbind(1)], 1)
        hits = torch.where(judged.classes == case.target[:, None], kept * inside, (~kept).float())
        return torch.where(masks.flatten(1).any(1), hits.mean(1), torch.nan)
