"""Insertion minus deletion relative to the highest score on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps, area
from lightning_xai.evidence.masking.ranking import Ties
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model

_LEAST_SCORE = 1e-3


def relative_faithfulness(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_steps: Steps = 32,
    ties: Ties = "random",
    seed: int = 0,
    tolerance: float | None = None,
) -> Tensor:
    """Return the relative faithfulness of each image, float32 (N,) in [-1, 1]; see `RelativeFaithfulness`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_steps: Equal parts of each curve, or ``"auto"``; see `MaskingCurve`.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.
        tolerance: Greatest error bound of each area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> relative_faithfulness(net, torch.rand(3, 1, 2, 2), torch.rand(3, 2, 2), target=1, num_steps=4).shape
        torch.Size([3])
    """
    metric = RelativeFaithfulness(num_steps, ties, seed, tolerance)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class RelativeFaithfulness(ExplanationMetric):
    """Faithfulness freed of most of the model's confidence.

    `InsertionDeletion` divided by the highest probability on either curve; in [-1, 1], higher is better; logged as
    ``faithfulness_relative``. Undefined where that probability is below 1e-3. Fake-CAM does not fool it: a constant
    map scores like a random one.

    Evaluations per image: ``2 (num_steps + 1)`` (at most 450 for ``"auto"``), both curves and the unchanged
    image shared.

    Source: this package; it answers the measurement that insertion minus deletion grows with confidence alone.

    Args:
        num_steps: Equal parts of each curve, or ``"auto"``; see `MaskingCurve`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties.
        tolerance: Greatest error bound of each area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> metric = RelativeFaithfulness(num_steps=4)
        >>> metric.update(model=net, images=torch.rand(3, 1, 2, 2), heatmaps=torch.rand(3, 2, 2), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    key = "faithfulness_relative"
    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        num_steps: Steps = 32,
        ties: Ties = "random",
        seed: int = 0,
        tolerance: float | None = None,
        **kwargs: Any,
    ) -> None:
        insertion = MaskingCurve("insertion", "blur", num_steps, ties=ties, seed=seed, tolerance=tolerance)
        deletion = MaskingCurve("deletion", 0.0, num_steps, ties=ties, seed=seed, tolerance=tolerance)
        super().__init__([insertion, deletion], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the difference of the areas over the highest score, (N,); NaN where that is below 1e-3."""
        insertion, deletion = (case[curve] for curve in self.evidence)
        highest = torch.maximum(insertion.amax(1), deletion.amax(1))
        return torch.where(highest >= _LEAST_SCORE, (area(insertion) - area(deletion)) / highest, torch.nan)
