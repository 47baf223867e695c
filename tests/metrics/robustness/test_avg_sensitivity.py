from __future__ import annotations

import pytest
import torch

from lightning_xai._randomness import content_keys
from lightning_xai.evidence import Neighbourhood
from lightning_xai.functional import avg_sensitivity, max_sensitivity
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, squares, tiny_net
from tests.metrics.robustness.test_max_sensitivity import Flat, OnlyClean


def _reference(view, radius=0.02, num_samples=10, relative=True, seed=0, absolute=False):
    found = _naive.changes(view, squares, radius, num_samples, relative, seed, absolute)
    return sum(found) / len(found)


ENTRY = Entry(
    "avg_sensitivity",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=({"radius": 0.5, "num_samples": 3, "seed": 4}, {"radius": 0.1, "relative": False}, {"absolute": True}),
)


def test_by_hand():
    image = torch.full((1, 1, 2, 2), 4.0)
    noise = [Neighbourhood().draw(content_keys(image), (1, 2, 2), j)[0, 0, 0, 0].abs().item() for j in range(10)]
    value = avg_sensitivity(torch.nn.Flatten(), image, Flat(), target=0, absolute=True)
    assert value.item() == pytest.approx(sum(noise) / 10 / 4.0, rel=1e-4)


def test_neighbours_without_heat_count_exactly_one():
    image = torch.rand(1, 1, 3, 3)
    assert avg_sensitivity(torch.nn.Flatten(), image, OnlyClean(image[0]), target=0).tolist() == [1.0]


def test_one_neighbour_has_no_other_maximum():
    arguments = ENTRY.given(Batch.draw(4), tiny_net())
    values = [function(**arguments, num_samples=1) for function in (avg_sensitivity, max_sensitivity)]
    torch.testing.assert_close(*values, rtol=0, atol=0)
