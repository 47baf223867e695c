from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai._randomness import content_keys, normal
from lightning_xai.evidence.masking.imputation_curve import imputed
from lightning_xai.functional import road
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _imputed(image, removed):
    """Solve for the removed pixels, each the weighted mean of its neighbours inside the image."""
    height, width = removed.shape
    places = [tuple(p) for p in np.argwhere(removed)]
    row = {p: i for i, p in enumerate(places)}
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), len(image)))
    for (y, x), i in row.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy, dx) == (0, 0) or not (0 <= y + dy < height and 0 <= x + dx < width):
                    continue
                weight = 1 / 12 if dy and dx else 1 / 6
                matrix[i, i] += weight
                if (y + dy, x + dx) in row:
                    matrix[i, row[y + dy, x + dx]] -= weight
                else:
                    right[i] += weight * image[:, y + dy, x + dx]
    filled = image.copy()
    for (y, x), values in zip(places, np.linalg.solve(matrix, right), strict=True):
        filled[:, y, x] = values
    return filled


def _mean(view, percentages, order, noise, seed):
    flat = view.heat.ravel()
    sequence = _naive.removal_order(flat, _naive.tie_breakers(view, flat.size, seed), "random", order)
    scores = []
    for version, percentage in enumerate(percentages):
        removed = np.zeros(flat.size, dtype=bool)
        removed[sequence[: round(percentage / 100 * flat.size)]] = True
        removed = removed.reshape(view.heat.shape)
        drawn = normal(content_keys(view.batch.images), view.image.shape, seed=seed, sample=version)[0].double().numpy()
        noisy = _imputed(view.image, removed) + noise * (view.image.max() - view.image.min()) * drawn
        scores.append(view.f(np.where(removed, noisy, view.image)))
    return sum(scores) / len(scores)


def _reference(view, percentages=(20, 40, 60, 80), order="morf", noise=0.01, seed=0):
    if order != "combined":
        return _mean(view, percentages, order, noise, seed)
    most, least = (_mean(view, percentages, way, noise, seed) for way in ("morf", "lerf"))
    return (least - most) / 2


ENTRY = Entry(
    "road",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"order": "lerf", "percentages": (30, 50), "seed": 2}, {"order": "combined", "noise": 0.1}),
)


def test_imputation_by_hand():
    # the middle of three pixels in a row is the mean of the others
    image, removed = torch.tensor([[[1.0, 9.0, 3.0]]]), torch.tensor([[False, True, False]])
    assert imputed(image, removed).tolist() == [[[1.0, pytest.approx(2.0), 3.0]]]


def test_imputation_is_exact_on_a_plane():
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
    image, removed = (2 * y - 3 * x)[None], torch.zeros(9, 7, dtype=torch.bool)
    removed[2:6, 2:5] = True
    torch.testing.assert_close(imputed(torch.where(removed, 99.0, image), removed), image, rtol=1e-5, atol=1e-4)


def test_percentages_are_checked():
    with pytest.raises(ValueError, match=r"Expected `percentages` between 0 and 100, but got \(0,\)"):
        road(nn.Flatten(), torch.rand(1, 1, 4, 4), torch.rand(1, 4, 4), target=0, percentages=(0,))
