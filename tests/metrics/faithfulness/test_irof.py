from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.segmentation import slic
from torch import nn

from lightning_xai._segments import superpixels
from lightning_xai.evidence import Case, SuperpixelCurve
from lightning_xai.evidence.masking import superpixel_curve
from lightning_xai.functional import irof
from lightning_xai.metrics import IROF
from tests._nets import images_through
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, baseline="mean", seed=0, ceiling=1.0, num_steps="radau"):
    image = view.batch.images[0].permute(1, 2, 0).numpy()
    scaled = (image - image.min()) / (image.max() - image.min())
    labels = slic(scaled, min(300, image.shape[0] * image.shape[1] // 64), 10.0, start_label=0, channel_axis=-1)
    names = np.unique(labels)
    means = np.array([view.heat[labels == name].mean(dtype=np.float32) for name in names])
    sequence = _naive.removal_order(means, _naive.tie_breakers(view, len(names), seed), "random")
    fill, frame = _naive.replaced(view, baseline, seed), view.image.copy()
    values = [view.f(frame)]
    if values[0] < 1e-3:
        return math.nan
    for index in sequence:
        frame = np.where(labels == names[index], fill, frame)
        values.append(view.f(frame))
    shares = [value / values[0] for value in values]
    if num_steps == "radau" and len(names) > 10:
        raise ValueError("Expected few superpixels, of which every number is a point.")
    return 1.0 - _naive.area(shares if ceiling is None else [min(ceiling, share) for share in shares])


ENTRY = Entry(
    "irof",
    ("model", "images", "heatmaps", "target"),
    _reference,
    shared=9,  # of at most 11: one superpixel and the unchanged image are left
    undefined_by_model=True,
    variants=({"baseline": 0.0, "seed": 1}, {"ceiling": None}, {"ceiling": 1.05}),
    # with "all" an image of this size costs what it costs with "radau"; see below for larger ones
)


def test_the_superpixels_that_matter():
    net = nn.Sequential(nn.MaxPool2d(24), nn.Flatten(), nn.Linear(3, 2, bias=False))
    net[2].weight.data = torch.tensor([[0.0] * 3, [2.0] * 3])
    images = 0.1 * torch.rand(2, 3, 24, 24)
    images[:, :, 8:16, 8:16] = 1.0  # the model sees only how bright the brightest pixel is
    heatmaps = torch.zeros(2, 24, 24)
    heatmaps[0, 8:16, 8:16] = 1.0
    heatmaps[1] = 1.0 - heatmaps[0]
    right, wrong = irof(net, images, heatmaps, target=1).tolist()
    assert right > 0.1
    assert wrong < 0.5 * right
    alone = torch.cat([irof(net, images[i : i + 1], heatmaps[i : i + 1], target=1) for i in range(2)])
    torch.testing.assert_close(torch.tensor([right, wrong]), alone)


def mosaic():
    torch.manual_seed(0)
    net = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 64, 12), nn.Tanh(), nn.Linear(12, 2))
    return net, torch.rand(3, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3), torch.rand(3, 64, 64)


@pytest.mark.parametrize("ceiling", [None, 1.0])
def test_ten_points_and_all_by_hand(ceiling):
    net, images, heatmaps = mosaic()
    settings = {"baseline": 0.0, "ceiling": ceiling}
    case = Case(net, images, 1, heatmaps=heatmaps)
    curves, shares = case[SuperpixelCurve(0.0, num_steps="all")].double(), []
    for row in curves:
        row = row[~row.isnan()]
        share = row / row[0] if ceiling is None else (row / row[0]).clamp(max=ceiling)
        nodes, weights = _naive.radau(len(row) - 1)
        shares.append((_naive.area(share.tolist()), float(share[nodes] @ torch.tensor(weights, dtype=torch.float64))))
    assert min((~curves.isnan()).sum(1)) > 50
    exact, few = (1.0 - torch.tensor(values) for values in zip(*shares, strict=True))
    torch.testing.assert_close(irof(net, images, heatmaps, 1, num_steps="all", **settings), exact)
    torch.testing.assert_close(irof(net, images, heatmaps, 1, **settings), few)
    torch.testing.assert_close(few, exact, rtol=0, atol=0.03)
    with images_through(net) as count:
        irof(net, images, heatmaps, 1)
    assert count[0] == 3 * (1 + 10)


def test_superpixels_are_found_once_for_all_heatmaps(monkeypatch):
    found = []
    monkeypatch.setattr(superpixel_curve, "superpixels", lambda image: found.append(1) or superpixels(image))
    net, images, heatmaps = mosaic()
    case = Case(net, images, 1, heatmaps=heatmaps)
    for one in (case, case.with_heatmaps(heatmaps.flip(1))):
        IROF().score(one)
    assert len(found) == len(images)


class Dark(nn.Module):
    """One logit that rises by ln 3 / 8 with each of 8 superpixels of 8 × 8 ones that is gone, from 0 on."""

    def forward(self, images):
        return (8.0 - images[:, 0].mean((1, 2)) * 8.0)[:, None] * math.log(3.0) / 8.0


def test_the_published_curve_is_not_cut_at_the_unchanged_image():
    # one superpixel of ones becomes 0: the score goes from 1/2 to 3/4, so the curve from 1 to 3/2
    images, heatmaps = torch.ones(1, 1, 8, 8), torch.rand(1, 8, 8)
    cut, published = (
        irof(Dark(), images, heatmaps, target=1, baseline=0.0, ceiling=ceiling).item() for ceiling in (1.0, None)
    )
    assert cut == 0.0
    assert published == pytest.approx(-0.25)
    assert irof(Dark(), images, heatmaps, target=1, baseline=0.0, ceiling=1.2).item() == pytest.approx(-0.1)
    assert IROF().range == (0.0, 1.0)
    assert IROF(ceiling=None).range[0] == -math.inf


def test_the_ceiling_is_no_lower_than_the_unchanged_image():
    with pytest.raises(ValueError, match=r"Expected `ceiling` to be >= 1\.0, but got 0\.5\."):
        IROF(ceiling=0.5)
