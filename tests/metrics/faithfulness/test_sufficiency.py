from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.functional import sufficiency
from lightning_xai.metrics import Sufficiency
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, threshold=1.0):
    cells = _naive.average_pool(view.heat, (14, 14)).ravel()
    peak = np.abs(cells).max()
    if peak == 0:
        return (math.nan,) * 197
    return (*(cells / peak), float(view.logits(view.image).argmax()))


def _shares(rows, threshold=2.0):
    """Return each image's share of neighbours with its prediction, NaN without."""
    defined = [row for row in rows.tolist() if not math.isnan(row[0])]
    sigma = np.std([row[:-1] for row in defined], axis=0)
    shares = []
    for i, a in enumerate(rows.tolist()):
        alike = []
        for j, b in enumerate(rows.tolist()):
            terms = [((p - q) / s) ** 2 for p, q, s in zip(a[:-1], b[:-1], sigma, strict=True) if s > 0]
            if i != j and math.sqrt(sum(terms) / max(len(terms), 1)) <= threshold:
                alike.append(b[-1] == a[-1])
        shares.append(sum(alike) / len(alike) if alike else math.nan)
    return torch.tensor(shares)


def _value(rows, threshold=2.0):
    return _shares(rows.double(), threshold).nanmean() if len(rows) else torch.tensor(math.nan)


def without_each(rows, threshold=2.0):
    """Return the mean of the shares without each image, σ and so every distance as they are with it."""
    scaled = rows[:, :-1].double()
    sigma = scaled.std(0, correction=0)
    scaled, label = scaled[:, sigma > 0] / sigma[sigma > 0], rows[:, -1].tolist()
    distances = (scaled[:, None] - scaled[None]).square().mean(2).sqrt().tolist()
    means = []
    for out in range(len(rows)):
        shares = []
        for i in range(len(rows)):
            near = [j for j in range(len(rows)) if j not in (i, out) and distances[i][j] <= threshold]
            if i != out and near:
                shares.append(sum(label[j] == label[i] for j in near) / len(near))
        means.append(sum(shares) / len(shares))
    return torch.tensor(means, dtype=torch.float64)


ENTRY = Entry(
    "sufficiency",
    ("model", "images", "heatmaps"),
    _reference,
    left_out=without_each,
    per_image=_shares,
    base={"threshold": 2.0},  # maps of unrelated images are farther apart than the default
    value=_value,
)


def test_by_hand():
    # two pairs of equal maps; the first pair has one prediction, the second two
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0] * 4, [1.0] * 4])
    sums = torch.tensor([1.0, 1.0, 1.0, -1.0])
    heatmaps = torch.zeros(4, 2, 2)
    heatmaps[:2, 0, 0], heatmaps[2:, 1, 1] = 1.0, 1.0
    images = sums[:, None, None, None].expand(4, 1, 2, 2).clone()
    assert sufficiency(net, images, heatmaps).tolist() == [1.0, 1.0, 0.0, 0.0]
    metric = Sufficiency()
    metric.update(model=net, images=images, heatmaps=heatmaps)
    assert metric.compute().item() == 0.5


NEAR = 1.38


def _rows(count, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randn(count, 196, generator=random), torch.arange(count)[:, None] % 2.0], 1)


def _jackknife(values):
    return ((len(values) - 1) * (values - values.mean()).square().mean()).sqrt().item()


@pytest.mark.parametrize("count", [32, 100, 101])
def test_the_standard_error_leaves_out_one_after_another(count):
    rows, metric = _rows(count, 0), Sufficiency(threshold=NEAR)
    metric._append(rows, None)
    expected = _jackknife(without_each(rows, NEAR))
    assert metric.standard_error().item() == pytest.approx(expected, rel=1e-5)
    assert metric.estimate(rows).error == pytest.approx(expected, rel=1e-5)  # what a monitor says
    assert expected > 0


@pytest.mark.parametrize("count", [40, 105])
def test_a_difference_leaves_out_the_same_one_on_both_sides(count):
    first, second = _rows(count, 1), _rows(count, 2)
    gaps = without_each(first, NEAR) - without_each(second, NEAR)
    difference = Sufficiency(threshold=NEAR).difference(first, second)
    assert difference.error == pytest.approx(_jackknife(gaps), rel=1e-5)


def test_without_neighbours_it_is_undefined():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    metric = Sufficiency(threshold=0.5)
    heatmaps = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    metric.update(model=net, images=torch.rand(2, 1, 2, 2), heatmaps=heatmaps)
    assert metric.compute().isnan()
    assert (metric.undefined, metric.estimate(metric.rows).undefined) == (2, 2)


def test_images_without_neighbours_are_counted_with_those_without_heat():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    metric = Sufficiency()
    heatmaps = torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 3 + [[0.0, 0.0, 0.0, 1.0], [0.0] * 4]).view(5, 2, 2)
    metric.update(model=net, images=torch.rand(1, 1, 2, 2).expand(5, -1, -1, -1), heatmaps=heatmaps)
    assert (metric.compute().item(), metric.undefined) == (1.0, 2)  # the three that are alike have a value
    assert metric.estimate(metric.rows).undefined == 2
    assert metric.estimate(metric.rows[:0]).undefined == 0
