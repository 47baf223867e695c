"""Sufficiency."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.metrics.estimate import undefined_rows
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

_CELLS = (14, 14)


class Sufficiency(ExplanationMetric):
    """Do images with alike explanations get the same prediction?

    Heatmaps are pooled to 14×14 cells and divided by their largest magnitude; the distance of two is the root of the
    mean over cells of ``(Δ/σ)²``, σ being the cell's standard deviation over all images (cells with σ = 0 left out).
    The value of an image is the share of the others within ``threshold`` that have its predicted class; in [0, 1],
    higher is better. Undefined, and counted, for zero heatmaps and without neighbours. Needs all heatmaps: it keeps 197
    numbers per image until `compute`. The standard error is the jackknife's with σ held fixed. Fake-CAM makes all
    images neighbours and scores the share of common classes.

    Evaluations per image: 1, the unchanged image.

    Source: Dasgupta et al., "Framework for Evaluating Faithfulness of Local Explanations", ICML 2022,
    https://arxiv.org/abs/2202.00734. Deviation: distances in standard deviations; Quantus divides distances by their
    maximum.

    Args:
        threshold: Distance below which heatmaps are neighbours.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.ones(1, 2)
        >>> images = torch.tensor([1.0, 1.0, 1.0, -1.0])[:, None, None, None].expand(4, 1, 1, 2)  # classes 1, 1, 1, 0
        >>> heatmaps = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])  # two pairs of neighbours
        >>> metric = Sufficiency()
        >>> metric.update(model=net, images=images, heatmaps=heatmaps)
        >>> metric.compute()  # the first two agree, the others do not
        tensor(0.5000)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        threshold: float = 1.0,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.threshold = threshold
        self.logits = Logits()

    def score(self, case: Case) -> Tensor:
        """Return each image's pooled heatmap and predicted class, (N, 197); NaN where the heatmap is zero."""
        cells = torch.nn.functional.adaptive_avg_pool2d(case.heatmaps.float(), _CELLS).flatten(1)
        peak = cells.abs().amax(1, keepdim=True)
        rows = torch.cat([cells / torch.where(peak > 0, peak, 1.0), case[self.logits].argmax(1, keepdim=True)], 1)
        return torch.where(peak > 0, rows, torch.nan)

    def per_image(self, rows: Tensor) -> Tensor:
        """Return the share of neighbours with the same prediction, in [0, 1], higher is better; NaN without any."""
        share = torch.full((len(rows),), torch.nan, device=rows.device)
        defined = ~undefined_rows(rows)
        if int(defined.sum()) > 1:
            near, alike = self._neighbours(rows[defined])
            share[defined] = (alike.sum(1) / near.sum(1)).to(share)
        return share

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean over images with neighbours."""
        return self.per_image(rows).nanmean()

    def num_undefined(self, rows: Tensor) -> int:
        """Return how many images have no heat or no neighbour."""
        return int(self.per_image(rows).isnan().sum())

    def left_out(self, rows: Tensor) -> Tensor:
        """Return the value without each image, with σ of all: anew, it moves every distance, and errors double."""
        near, alike = self._neighbours(rows)
        share = (alike.sum(1)[:, None] - alike) / (near.sum(1)[:, None] - near)  # of an image (row), another left out
        return share.fill_diagonal_(torch.nan).nanmean(0)

    def _neighbours(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return which images are neighbours, and which of these have the same prediction, 0 or 1, float64 (N, N)."""
        cells, label = rows[:, :-1], rows[:, -1]
        sigma = cells.std(0, correction=0)
        scaled = cells[:, sigma > 0] / sigma[sigma > 0]
        distance = torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist")
        near = distance / max(scaled.shape[1], 1) ** 0.5 <= self.threshold
        near &= ~torch.eye(len(cells), dtype=torch.bool, device=rows.device)
        return near.double(), (near & (label[:, None] == label[None, :])).double()
