from __future__ import annotations

import math

import numpy as np
import torch
from skimage.segmentation import slic
from torch import nn

from lightning_xai.functional import irof
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, baseline="mean", seed=0):
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
    return 1.0 - _naive.area([min(1.0, value / values[0]) for value in values])


ENTRY = Entry(
    "irof",
    ("model", "images", "heatmaps", "target"),
    _reference,
    shared=299,  # of at most 301: one superpixel and the unchanged image are left
    undefined_by_model=True,
    variants=({"baseline": 0.0, "seed": 1},),
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
