from __future__ import annotations

import math

import pytest
import torch

from lightning_xai._randomness import content_keys, normal
from lightning_xai.evidence import Neighbourhood
from lightning_xai.functional import local_lipschitz
from lightning_xai.metrics import LocalLipschitz
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, squares, tiny_net
from tests.metrics.robustness._stability import ARGUMENTS, FirstValue


def _reference(view, radius=0.02, num_samples=10, relative=True, seed=0, absolute=False):
    radius = radius * _naive.noise_unit(view, absolute)
    norm = math.sqrt((view.heat**2).sum()) if relative else 1.0
    if norm == 0:
        return math.nan
    found = []
    for sample in range(num_samples):
        noise = radius * normal(content_keys(view.batch.images), view.image.shape, seed=seed, sample=sample)[0]
        noisy = (view.batch.images[0] + noise).double().numpy()
        moved = math.sqrt(((view.heat - squares(noisy, view.target)) ** 2).sum()) / norm
        found.append(moved / noise.double().norm().item())
    return max(found)


ENTRY = Entry(
    "local_lipschitz",
    ARGUMENTS,
    _reference,
    variants=({"radius": 0.5, "num_samples": 3, "seed": 4}, {"relative": False}, {"absolute": True}),
)


@pytest.mark.parametrize("relative", [True, False])
def test_by_hand(relative):
    # every one of four pixels moves by the first value's noise: 2|e| over the norm of the noise (and of the map, 8)
    image = torch.full((1, 1, 2, 2), 4.0)
    noise = [Neighbourhood(noise="gaussian").draw(content_keys(image), (1, 2, 2), j)[0].double() for j in range(10)]
    expected = max(2 * e[0, 0, 0].abs() / e.norm() for e in noise).item() / (8.0 if relative else 1.0)
    value = local_lipschitz(torch.nn.Flatten(), image, FirstValue(), target=0, relative=relative, absolute=True)
    assert value.item() == pytest.approx(expected, rel=1e-3)


def test_zero_heatmap_is_undefined_unless_absolute():
    batch = Batch.draw(2)
    for relative, undefined in ((True, 2), (False, 0)):
        metric = LocalLipschitz(relative=relative)
        metric.update(**ENTRY.given(batch.with_heatmaps(torch.zeros_like(batch.heatmaps)), tiny_net()))
        assert metric.undefined == undefined
