from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lightning_xai.evidence import Case
from lightning_xai.functional import occlusion_correlation
from lightning_xai.metrics import MetricSuite, OcclusionCorrelation
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net
from tests.metrics.randomization._explainers import is_degenerate


def _reference(view, grid=(14, 14), patch=45 / 224, baseline=0.0, seed=0):
    height, width = view.heat.shape
    side = max(patch * height, 1.0)
    replaced, drops = _naive.replaced(view, baseline, seed), np.zeros(grid)
    for i, j in np.ndindex(grid):
        y0, x0 = (i + 0.5) * height / grid[0] - side / 2, (j + 0.5) * width / grid[1] - side / 2
        occluded = view.image.copy()
        for y, x in np.ndindex(height, width):
            if y0 <= y + 0.5 < y0 + side and x0 <= x + 0.5 < x0 + side:
                occluded[:, y, x] = replaced[:, y, x]
        drops[i, j] = view.f(view.image) - view.f(occluded)
    pooled = _naive.average_pool(view.heat, grid)
    if is_degenerate(pooled) or is_degenerate(drops):
        return math.nan
    # the drops of cells that hide the same pixels are equal but for rounding
    return spearmanr(pooled.astype(np.float32).ravel(), drops.astype(np.float32).ravel()).statistic


ENTRY = Entry(
    "occlusion_correlation",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"grid": (3, 4)}, {"grid": (4, 4), "patch": 0.5, "baseline": "mean"}),
    base={"grid": (4, 5)},
)


class Additive(nn.Module):
    """A binary model whose logit is a sum of pixels times weights."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        return (images * self.weights).flatten(1).sum(1, keepdim=True)


def test_by_hand():
    # patches of one pixel on a grid of one pixel: the drop has the order of the weights
    weights = torch.tensor([[0.3, 0.1], [0.2, -0.4]])
    arguments = {"grid": (2, 2), "patch": 0.5}
    for heat, value in (
        (weights, 1.0),
        (-weights, -1.0),
        ([[4.0, 2.0], [1.0, 3.0]], 0.2),
        ([[1.0, 1.0], [1.0, 1.0]], math.nan),
    ):
        heatmaps = torch.as_tensor(heat)[None]
        found = occlusion_correlation(Additive(weights), torch.ones(1, 1, 2, 2), heatmaps, 1, **arguments)
        assert found.item() == pytest.approx(value, nan_ok=True, abs=1e-6)


def test_the_default_patch_is_45_of_224_pixels_cut_off_at_the_border():
    seen = []

    class Noted(nn.Module):
        def forward(self, images):
            seen.append(images[:, 0] == 0.0)
            return images.flatten(1)[:, :2] + images.mean((1, 2, 3))[:, None]

    occlusion_correlation(Noted(), torch.rand(1, 1, 224, 224) + 1.0, torch.rand(1, 224, 224), target=0)
    hidden = torch.cat([part for part in seen if part.any()]).view(14, 14, 224, 224)
    for i, j in ((0, 0), (0, 7), (7, 7), (13, 13)):
        rows, columns = (hidden[i, j].any(axis).nonzero().flatten() for axis in (1, 0))
        for cell, span in ((i, rows), (j, columns)):
            centre = 16 * cell + 8  # between two pixels; 45 is odd, so one side is a pixel longer
            first, last = max(centre - 23, 0), min(centre + 21, 223)
            assert (span[0].item(), span[-1].item(), len(span)) == (first, last, last - first + 1)
        assert hidden[i, j].sum() == len(rows) * len(columns)


def test_cost_is_196_passes_once_for_all_heatmaps_and_targets():
    batch, net = Batch.draw(2), tiny_net()
    count = EvaluationCount(net)
    metric = OcclusionCorrelation()
    metric.update(**ENTRY.given(batch, net))
    assert count.images / 2 == metric.evaluations() == 197
    case, suite = Case(net, batch.images), MetricSuite(["occlusion_correlation"])
    count.images = 0
    for heatmaps, target in ((batch.heatmaps, batch.target), (batch.images[:, 0], (batch.target + 1) % 3)):
        found = suite.score(case.with_heatmaps(heatmaps, target=target))["occlusion_correlation"]
        alone = occlusion_correlation(tiny_net(), batch.images, heatmaps, target)
        torch.testing.assert_close(found, alone, rtol=0, atol=0, equal_nan=True)
    assert count.images / 2 == 197


def test_settings_are_checked():
    with pytest.raises(ValueError, match="Expected `patch` to be > 0"):
        OcclusionCorrelation(patch=0.0)
    with pytest.raises(ValueError, match="Expected `grid` to be >= 1"):
        OcclusionCorrelation(grid=(0, 3))
