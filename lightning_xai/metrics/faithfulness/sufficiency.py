"""Sufficiency."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model

_CELLS = (14, 14)
_EXACTLY = 100  # images; the time of the plain jackknife grows with their third power


def sufficiency(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    *,
    threshold: float = 1.0,
) -> Tensor:
    """Return each image's share of neighbours with its prediction, float32 (N,) in [0, 1]; see `Sufficiency`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        threshold: Distance below which heatmaps are neighbours.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> sufficiency(net, torch.rand(3, 1, 4, 4), torch.ones(3, 4, 4)).shape
        torch.Size([3])
    """
    metric = Sufficiency(threshold)
    return shares_of_alike(metric.score(Case(model, images, heatmaps=heatmaps)), threshold)


def shares_of_alike(rows: Tensor, threshold: float) -> Tensor:
    """Return the share of neighbours with the same prediction, (N,); NaN without neighbours.

    Args:
        rows: As `Sufficiency.score` returns them, (N, 197).
        threshold: Distance below which heatmaps are neighbours.
    """
    known = ~rows.isnan().any(1) if len(rows) else torch.zeros(0, dtype=torch.bool, device=rows.device)
    shares = torch.full((len(rows),), torch.nan, device=rows.device)
    if int(known.sum()) < 2:
        return shares
    near, alike = _neighbours(rows[known], threshold)
    shares[known] = (alike.sum(1) / near.sum(1)).to(shares)
    return shares


def _neighbours(rows: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return which images are neighbours, and which of these have the same prediction, 0 or 1, float64 (N, N)."""
    cells, label = rows[:, :-1], rows[:, -1]
    sigma = cells.std(0, correction=0)
    scaled = cells[:, sigma > 0] / sigma[sigma > 0]
    distance = torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist") / max(scaled.shape[1], 1) ** 0.5
    near = (distance <= threshold) & ~torch.eye(len(cells), dtype=torch.bool, device=rows.device)
    return near.double(), (near & (label[:, None] == label[None, :])).double()


class Sufficiency(ExplanationMetric):
    """Do images with alike explanations get the same prediction?

    Heatmaps are pooled to 14×14 cells and divided by their largest magnitude; the distance of two is the root of the
    mean over cells of ``(Δ/σ)²``, σ being the cell's standard deviation over all images (cells with σ = 0 left out).
    The value of an image is the share of the others within ``threshold`` that have its predicted class; in [0, 1],
    higher is better. Undefined for zero heatmaps (counted) and without neighbours. Needs all heatmaps: it keeps 197
    numbers per image until `compute`. Fake-CAM makes all images neighbours and scores the share of common classes.

    Evaluations per image: 1, the unchanged image.

    Source: Dasgupta et al., "Framework for Evaluating Faithfulness of Local Explanations", ICML 2022,
    https://arxiv.org/abs/2202.00734. Deviation: distances in standard deviations; Quantus divides distances by their
    maximum.

    Args:
        threshold: Distance below which heatmaps are neighbours.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = Sufficiency()
        >>> metric.update(model=net, images=torch.zeros(3, 1, 4, 4), heatmaps=torch.ones(3, 4, 4))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        threshold: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__([Logits()], {"threshold": threshold}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return each image's pooled heatmap and predicted class, (N, 197); NaN where the heatmap is zero."""
        cells = torch.nn.functional.adaptive_avg_pool2d(case.heatmaps.float(), _CELLS).flatten(1)
        peak = cells.abs().amax(1, keepdim=True)
        rows = torch.cat([cells / torch.where(peak > 0, peak, 1.0), case.logits.argmax(1, keepdim=True)], 1)
        return torch.where(peak > 0, rows, torch.nan)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean over images with neighbours."""
        return shares_of_alike(rows, self.settings["threshold"]).nanmean()

    def standard_error(self) -> Tensor:
        """Return the jackknife's standard error; of more than 100 images with σ of all, which hardly changes then."""
        rows = self.rows
        known = rows[~rows.isnan().any(1)] if rows.ndim > 1 else rows[:0]
        count = len(known)
        if count <= _EXACTLY:
            return super().standard_error()
        near, alike = _neighbours(known, self.settings["threshold"])
        shares = (alike.sum(1)[:, None] - alike) / (near.sum(1)[:, None] - near)  # of each image (row) without another
        shares.fill_diagonal_(torch.nan)
        left_out = shares.nanmean(0)
        return ((count - 1) / count * (left_out - left_out.mean()).square().sum()).sqrt().float()
