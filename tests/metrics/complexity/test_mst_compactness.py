from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import mst_compactness
from lightning_xai.metrics import MSTCompactness
from tests.metrics._harness import Entry


def _hull_area(places):
    """Walk around the hull (Andrew's monotone chain), then add up its trapezoids."""

    def chain(ordered):
        found = []
        for y, x in ordered:
            while len(found) > 1:
                (y0, x0), (y1, x1) = found[-2:]
                if (y1 - y0) * (x - x0) - (x1 - x0) * (y - y0) > 0:
                    break
                found.pop()
            found.append((y, x))
        return found[:-1]

    corners = chain(sorted(places)) + chain(sorted(places, reverse=True))
    following = corners[1:] + corners[:1]
    return abs(sum((x0 + x1) * (y1 - y0) / 2 for (y0, x0), (y1, x1) in zip(corners, following, strict=True)))


def _forest_length(places, num_neighbours):
    """Grow a tree by the shortest edge to a place outside (Prim), and the next one where no edge leaves it."""
    distance = np.array([[math.dist(a, b) for b in places] for a in places])
    reach = np.sort(distance, axis=1)[:, min(num_neighbours, len(places) - 1), None]
    joined = (distance <= reach) | (distance <= reach.T)
    total, outside = 0.0, set(range(len(places)))
    while outside:
        tree = {outside.pop()}
        while edges := [(distance[i, j], j) for i in tree for j in outside if joined[i, j]]:
            length, place = min(edges)
            total += length
            tree.add(place)
            outside.remove(place)
    return total


def _reference(view, percentile=80.0, num_neighbours=20):
    heat = np.abs(view.heat)
    places = [(int(y), int(x)) for y, x in np.argwhere(heat >= np.percentile(heat, percentile))]
    if not heat.any() or _hull_area(places) == 0:
        return math.nan
    spread = 1 / math.sqrt(_hull_area(places))
    return 100 * math.hypot(*heat.shape) * spread * len(places) / _forest_length(places, num_neighbours)


ENTRY = Entry(
    "mst_compactness",
    ("heatmaps",),
    _reference,
    variants=({"percentile": 95.0}, {"percentile": 60, "num_neighbours": 3}, {"percentile": 90, "num_neighbours": 1}),
)


def _value(rows, **settings):
    heatmap = torch.tensor([[float(c) for c in row] for row in rows])
    return mst_compactness(heatmap[None], **settings).item()


@pytest.mark.parametrize(
    ("rows", "area", "pixels", "length"),
    [
        (["11000", "11000", "00000"], 1.0, 4, 3.0),
        (["10100", "00000", "10100"], 4.0, 4, 6.0),  # the same square, twice as wide
        (["11100", "10100", "11100"], 4.0, 8, 7.0),  # a hole
        (["10000", "01000", "10000"], 1.0, 3, 2 * math.sqrt(2)),
    ],
)
def test_by_hand(rows, area, pixels, length):
    share = 100 - 100 * (pixels - 0.5) / 14  # the lowest of that many pixels of fifteen is above it, the next below
    expected = 100 * math.sqrt(3**2 + 5**2) / math.sqrt(area) * pixels / length
    assert _value(rows, percentile=share) == pytest.approx(expected)


@pytest.mark.parametrize(("num_neighbours", "length"), [(20, 3 + 3 + 7), (4, 3 + 3 + 7), (3, 3 + 3), (1, 3 + 3)])
def test_pieces_are_joined_only_where_they_are_among_the_nearest(num_neighbours, length):
    value = _value(["1100000011", "1100000011"], percentile=60, num_neighbours=num_neighbours)
    assert value == pytest.approx(100 * math.sqrt(104) / math.sqrt(9) * 8 / length)


def test_the_percentile_is_a_value_of_the_map_and_counts():
    # 80 % of the way through 36 values lies the one of 28: the last row, and two pixels above its end
    heatmap = torch.arange(36.0).view(1, 6, 6)
    assert mst_compactness(heatmap).item() == pytest.approx(100 * math.sqrt(72) / math.sqrt(3) * 8 / 7)


@pytest.mark.parametrize(("height", "width"), [(30, 40), (1, 2), (70, 100)])
def test_a_solid_rectangle_in_closed_form_at_full_size(height, width):
    heatmap = torch.rand(1, 224, 224) * 0.1
    heatmap[0, 50 : 50 + height + 1, 60 : 60 + width + 1] = 1.0
    pixels = (height + 1) * (width + 1)
    found = mst_compactness(heatmap, percentile=100 * (1 - pixels / 224**2))
    assert found.item() == pytest.approx(100 * 224 * math.sqrt(2) / math.sqrt(height * width) * pixels / (pixels - 1))


def test_one_blob_is_more_compact_than_two_and_than_noise():
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    one = torch.exp(-((y - 24) ** 2 + (x - 24) ** 2) / 200)
    two = torch.exp(-((y - 10) ** 2 + (x - 10) ** 2) / 100) + torch.exp(-((y - 38) ** 2 + (x - 38) ** 2) / 100)
    values = mst_compactness(torch.stack([one, two, torch.rand(48, 48)]))
    assert values.tolist() == sorted(values.tolist(), reverse=True)


def test_sign_and_scale_of_the_heat_do_not_count():
    heatmaps = torch.randn(2, 20, 30)
    assert torch.equal(mst_compactness(heatmaps), mst_compactness(-1e-20 * heatmaps))


def test_a_mostly_empty_map_scores_like_a_constant_one():
    few = torch.zeros(1, 10, 10)
    few[0, 3:5, 3:5] = 1.0
    constant = mst_compactness(torch.ones(1, 10, 10))
    assert torch.equal(mst_compactness(few), constant)
    assert constant.item() == pytest.approx(100 * math.sqrt(200) / 9 * 100 / 99)


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (["0000", "0000", "0000"], {}),  # no heat
        (["0000", "0090", "0000"], {"percentile": 100}),  # a single pixel
        (["9000", "0000", "0009"], {"percentile": 95}),  # two
        (["0000", "9999", "0000"], {"percentile": 70}),  # in a row
        (["9000", "0900", "0090"], {"percentile": 80}),  # in a diagonal
        (["12345678"], {}),  # an image of one row
    ],
)
def test_without_heat_or_hull_it_is_undefined_and_counted(rows, settings):
    metric = MSTCompactness(**settings)
    metric.update(heatmaps=torch.tensor([[[float(c) for c in row] for row in rows]]))
    assert metric.undefined == 1
    assert bool(metric.compute().isnan())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"percentile": -1}, r"Expected `percentile` to be >= 0\.0, but got -1"),
        ({"percentile": 101}, "Expected `percentile` to be at most 100, but got 101"),
        ({"num_neighbours": 0}, "Expected `num_neighbours` to be >= 1, but got 0"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        MSTCompactness(**settings)
