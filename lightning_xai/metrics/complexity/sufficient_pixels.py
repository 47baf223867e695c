"""Sufficient pixels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.evidence.masking.ranking import Ties
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def sufficient_pixels(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_steps: int = 32,
    tolerance: float = 0.1,
    ties: Ties = "random",
    seed: int = 0,
) -> Tensor:
    """Return the share of pixels that suffices for each image, float32 (N,) in [0, 1]; see `SufficientPixels`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_steps: Equal parts of the insertion curve.
        tolerance: Squared deviation allowed, as a share of the squared score.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> sufficient_pixels(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = SufficientPixels(num_steps, tolerance, ties, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class SufficientPixels(ExplanationMetric):
    """How few of the most relevant pixels does the model need?

    Least share k / N of pixels on the insertion curve with ``(f(x) − f(x_k))² ≤ tolerance · f(x)²``; in [0, 1], lower
    is better. Always defined: the last point is the image itself. Fake-CAM does not fool
    it: a constant map needs as many pixels as a random one.

    Evaluations per image: ``num_steps + 1``, shared with `InsertionAUC`.

    Source: after the effective complexity of Nguyen & Martínez, "On quantitative aspects of model interpretability",
    2020, https://arxiv.org/abs/2007.07584.

    Args:
        num_steps: Equal parts of the insertion curve.
        tolerance: Squared deviation allowed, as a share of the squared score.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = SufficientPixels()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = False
    range = (0.0, 1.0)

    def __init__(
        self,
        num_steps: int = 32,
        tolerance: float = 0.1,
        ties: Ties = "random",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        check_count(num_steps, "num_steps")
        super().__init__(
            [MaskingCurve("insertion", "blur", num_steps, ties=ties, seed=seed)], {"tolerance": tolerance}, **kwargs
        )

    def score(self, case: Case) -> Tensor:
        """Return the least sufficient share of pixels, (N,)."""
        curve: Tensor = case[self.evidence[0]]
        intact = curve[:, -1:]
        enough = (intact - curve).square() <= self.settings["tolerance"] * intact.square()
        first: Tensor = enough.float().argmax(1)
        pixels = case.images.shape[2] * case.images.shape[3]
        return ((first.double() * pixels / (curve.shape[1] - 1)).round() / pixels).float()
