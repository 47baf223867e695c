from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import nuisance_mass
from lightning_xai.metrics import NuisanceMass
from tests.metrics._harness import Entry


def _reference(view, names=None):
    height, width = view.heat.shape
    inside = total = area = 0.0
    for y, x in np.ndindex(height, width):
        if names is None:
            distances = ((y + 0.5) / height, (height - y - 0.5) / height, (x + 0.5) / width, (width - x - 0.5) / width)
            is_nuisance = min(distances) < 1 / 16 or y in (0, height - 1) or x in (0, width - 1)
        else:
            is_nuisance = any(view.regions[name][y, x] for name in names)
        heat = max(view.heat[y, x], 0.0)
        total += heat
        inside += heat * is_nuisance
        area += is_nuisance
    return inside / total / (area / (height * width)) if total > 0 and area > 0 else math.nan


ENTRY = Entry(
    "nuisance_mass",
    ("heatmaps", "regions"),
    _reference,
    variants=({"names": ("object",)}, {"names": ("box", "object")}, {"names": ["box"]}),
    reads_all_with={"names": ("object",)},
)


def test_the_border_needs_no_annotation():
    heatmaps = torch.zeros(2, 32, 64)
    heatmaps[0, 1, 20] = heatmaps[0, 15, 3] = heatmaps[0, 2, 10] = heatmaps[0, 16, 4] = 1.0
    heatmaps[1] = 1.0
    area = 1 - 28 * 56 / (32 * 64)  # 2 and 4 pixels of each side
    torch.testing.assert_close(nuisance_mass(heatmaps), torch.tensor([0.5 / area, 1.0]))
    assert NuisanceMass().needs == frozenset()
    assert NuisanceMass("marker").needs == {"regions"}


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), 1), ((2, 9), 18), ((9, 11), 36), ((24, 24), 92), ((25, 25), 184)]
)
def test_the_border_of_any_size(size, expected):
    """Its pixels have their centres within 1/16 of a side; the outermost always belong to it."""
    heatmaps = torch.rand(1, *size) + 0.5
    found = nuisance_mass(heatmaps)
    border = torch.ones(size, dtype=torch.bool)
    depth = 2 if size == (25, 25) else 1
    border[depth : size[0] - depth, depth : size[1] - depth] = False
    assert int(border.sum()) == expected
    share = (heatmaps[0] * border).sum() / heatmaps.sum()
    torch.testing.assert_close(found[0], share / border.float().mean())


def test_chance_is_one_and_several_regions_are_one():
    heatmaps = torch.ones(3, 16, 16)
    boxes = torch.tensor([[2.0, 2.0, 7.0, 9.0]]).expand(3, 4)
    regions = {"marker": boxes, "text": torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.2}
    for names in ("marker", ["text"], ["marker", "text"]):
        torch.testing.assert_close(nuisance_mass(heatmaps, names=names, regions=regions), torch.ones(3))
    heatmaps = 1.0 * regions["text"]
    only_text = nuisance_mass(heatmaps, names=["marker", "text"], regions=regions)
    union = regions["text"].clone()
    union[:, 2:9, 2:7] = True
    torch.testing.assert_close(only_text, 1.0 / union.flatten(1).float().mean(1))


def test_an_image_without_the_region_is_left_out():
    metric = NuisanceMass("marker")
    boxes = torch.tensor([[[0.0, 0.0, 2.0, 4.0]], [[math.nan] * 4]])
    heatmaps = torch.ones(2, 4, 4)
    heatmaps[:, :, :2] = 3.0
    metric.update(heatmaps=heatmaps, regions={"marker": boxes})
    assert (metric.compute().item(), metric.undefined) == (1.5, 1)


@pytest.mark.parametrize(
    ("names", "error", "text"),
    [
        ([], ValueError, "Expected `names` to hold at least one name, or to be None for the border, but got none"),
        ([3], TypeError, "Expected names in `names` to be words"),
        (["=1"], ValueError, "Expected names in `names` to be words"),
    ],
)
def test_settings_are_checked(names, error, text):
    with pytest.raises(error, match=text):
        NuisanceMass(names)


def test_a_region_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"Expected `names` to be one of 'marker', but got 'maker'. Did you mean"):
        NuisanceMass("maker").update(heatmaps=torch.rand(1, 4, 4), regions={"marker": torch.ones(1, 4, 4).bool()})
