from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import attribution_localization, relevance_mass_accuracy
from tests.metrics._harness import Batch, Entry


def _reference(view, weighted=False):
    positive = {place: max(view.heat[place], 0.0) for place in np.ndindex(view.mask.shape)}
    total = sum(positive.values())
    if total == 0 or not view.mask.any():
        return math.nan
    share = sum(heat for place, heat in positive.items() if view.mask[place]) / total
    return share * view.mask.size / view.mask.sum() if weighted else share


ENTRY = Entry("attribution_localization", ("heatmaps", "masks"), _reference, variants=({"weighted": True},))

MASK = torch.tensor([[[False, True, False, False]]])


@pytest.mark.parametrize(
    ("heatmap", "plain", "weighted"),
    [
        ([0.0, 2.0, 0.0, 0.0], 1.0, 4.0),
        ([1.0, 3.0, -9.0, 0.0], 0.75, 3.0),
        ([1.0, 1.0, 1.0, 1.0], 0.25, 1.0),  # chance is 1
        ([0.0, 0.0, 0.0, 0.0], math.nan, math.nan),
    ],
)
def test_by_hand(heatmap, plain, weighted):
    for setting, value in ((False, plain), (True, weighted)):
        found = attribution_localization(torch.tensor([[heatmap]]), MASK, weighted=setting).item()
        assert found == pytest.approx(value, nan_ok=True)


def test_does_not_depend_on_the_size_of_the_batch():
    # Quantus and torchxai-tools count the pixels of the batch
    batch = Batch.draw(6)
    together = attribution_localization(batch.heatmaps, batch.masks, weighted=True)
    alone = [attribution_localization(batch.heatmaps[[i]], batch.masks[[i]], weighted=True) for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-6, atol=0, equal_nan=True)


def test_unweighted_is_relevance_mass_accuracy():
    batch = Batch.draw(6)
    expected = relevance_mass_accuracy(batch.heatmaps, batch.masks)
    torch.testing.assert_close(
        attribution_localization(batch.heatmaps, batch.masks), expected, rtol=0, atol=0, equal_nan=True
    )
