import math

import numpy as np
import pytest
import torch
from matplotlib.path import Path

from lightning_xai.datasets.outlines import OUTLINES, REACH


def unit_points(per_side=801):
    centres = (torch.arange(per_side, dtype=torch.float64) + 0.5) / per_side * 3.2 - 1.6
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return x, y


def corners_of(name):
    """Corners in order, from the definitions in the docstrings."""
    if name == "square":
        return [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    if name == "triangle":
        return [(math.cos(a), math.sin(a)) for a in (math.pi / 3, math.pi, 5 * math.pi / 3)]
    if name == "star":
        radii = [1, 0.45] * 5
        return [(r * math.cos(i * math.pi / 5), r * math.sin(i * math.pi / 5)) for i, r in enumerate(radii)]
    quarter = [(1, -0.35), (1, 0.35), (0.35, 0.35)]
    turns = [lambda x, y: (x, y), lambda x, y: (-y, x), lambda x, y: (-x, -y), lambda x, y: (y, -x)]
    return [turn(*point) for turn in turns for point in quarter]


@pytest.mark.parametrize("outline", OUTLINES, ids=lambda outline: outline.name)
def test_area_reach_and_distances_are_what_they_say(outline):
    x, y = unit_points()
    distance = outline.distance(x, y)
    inside = distance <= 0
    step = 3.2 / 801
    assert inside.sum().item() * step**2 == pytest.approx(outline.area, rel=3e-3)
    assert torch.hypot(x, y)[inside].max() * math.sqrt(math.pi / outline.area) < REACH
    slope = torch.hypot(*torch.gradient(distance, spacing=step))[distance.abs() < 0.02]
    assert slope.median() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["square", "triangle", "cross", "star"])
def test_polygons_match_their_corners(name):
    x, y = unit_points(201)
    (outline,) = (outline for outline in OUTLINES if outline.name == name)
    distance = outline.distance(x, y).flatten()
    expected = Path(corners_of(name)).contains_points(torch.stack([x.flatten(), y.flatten()], dim=1).numpy())
    clear = distance.abs() > 1e-6
    np.testing.assert_array_equal((distance < 0)[clear], expected[clear.numpy()])
