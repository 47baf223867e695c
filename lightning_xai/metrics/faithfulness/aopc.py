"""AOPC, the area over the perturbation curve."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.evidence.masking.ranking import Order
from lightning_xai.evidence.masking.segments import check_grid
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def aopc(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    grid: tuple[int, int] = (8, 8),
    baseline: Baseline = "uniform",
    order: Order = "morf",
    seed: int = 0,
) -> Tensor:
    """Return the AOPC of each image, float32 (N,) in [-1, 1], higher is better; see `AOPC`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        grid: Rows and columns of regions.
        baseline: What removed regions become; see `baseline_images`.
        order: Most (``"morf"``) or least (``"lerf"``) relevant region first.
        seed: Of noise and random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> aopc(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1, grid=(2, 2)).shape
        torch.Size([3])
    """
    metric = AOPC(grid, baseline, order, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class AOPC(ExplanationMetric):
    """How much does the class score fall, on average, while regions are removed, most relevant first?

    ``1 / (L + 1) · Σ_{k=1..L} [f(x⁰) − f(xᵏ)]`` over the L regions of a grid, ranked by their mean heat, with ``f`` the
    probability of the target class and xᵏ the image without the first k regions; in [-1, 1], higher is better (lower
    for ``order="lerf"``). It moves with the model's confidence for any heatmap: read it against a random one. Fake-CAM
    does not fool it: equal regions are removed in random order.

    Evaluations per image: L + 1, the unchanged image shared.

    Source: Samek et al., "Evaluating the visualization of what a Deep Neural Network has learned", IEEE TNNLS 2017,
    https://arxiv.org/abs/1509.06321, eq. 12. Deviation: noise covers each image's own range and is drawn once per
    image, the same for every heatmap, instead of anew at every step.

    Args:
        grid: Rows and columns of regions.
        baseline: What removed regions become; see `baseline_images`.
        order: Most (``"morf"``) or least (``"lerf"``) relevant region first.
        seed: Of noise and random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = AOPC(grid=(2, 2))
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    range = (-1.0, 1.0)
    logs_gain = True

    def __init__(
        self,
        grid: tuple[int, int] = (8, 8),
        baseline: Baseline = "uniform",
        order: Order = "morf",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        rows, columns = check_grid(grid)
        curve = MaskingCurve("deletion", baseline, rows * columns, order, grid=(rows, columns), seed=seed)
        super().__init__([curve], {"order": order}, **kwargs)

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """A greater drop is better where the most relevant regions go first, worse where the least relevant do."""
        return bool(self.settings["order"] == "morf")

    def score(self, case: Case) -> Tensor:
        """Return the mean drop over all points, (N,)."""
        curve: Tensor = case[self.evidence[0]]
        return (curve[:, :1] - curve).mean(1)
