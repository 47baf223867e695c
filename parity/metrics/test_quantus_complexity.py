"""Our complexity metrics against those of Quantus."""

import pytest
import quantus
import torch

from lightning_xai.functional import complexity, effective_complexity, sparseness
from parity._setting import PIXELS, close, heatmaps, images, target
from parity.metrics._quantus import scored

ABSOLUTE = {"abs": True, "normalise": False, "disable_warnings": True}
"""Quantus takes magnitudes if told to, ours always."""


def signed():
    return heatmaps() * torch.where(heatmaps(seed=5) > 0.4, 1.0, -1.0)


def test_sparseness():
    """Sparseness() = Sparseness(abs=True, normalise=False): the Gini index of the magnitudes.

    Quantus adds 1e-7 to every value first, which is 1e-6 of the index here.
    """
    theirs = scored(quantus.Sparseness(**ABSOLUTE), images(), target(), heatmaps=signed())
    close(sparseness(signed()), theirs)


def test_complexity():
    """Complexity() = Complexity(abs=True, normalise=False): entropy in nats of the share of each pixel's magnitude."""
    theirs = scored(quantus.Complexity(**ABSOLUTE), images(), target(), heatmaps=signed())
    close(complexity(signed()), theirs)


def test_effective_complexity():
    """EffectiveComplexity(threshold=1e-5) = EffectiveComplexity(eps=1e-5) of maps divided by their own maximum."""
    maps = heatmaps() * (heatmaps(seed=3) > torch.linspace(0.1, 1.0, 6)[:, None, None])
    own = maps / maps.amax((1, 2), keepdim=True)
    theirs = scored(quantus.EffectiveComplexity(eps=1e-5, **ABSOLUTE), images(), target(), heatmaps=own)
    close(effective_complexity(maps), theirs)


def test_difference_quantus_normalises_by_the_largest_value_of_the_batch():
    """So the same map counts fewer pixels next to a large one, and loses its sparseness in the 1e-7 that is added."""
    maps = heatmaps()
    beside_a_large_one = torch.cat([1e-7 * maps[:1], 1e3 * maps[1:]])
    default = {"abs": True, "normalise": True, "disable_warnings": True}
    count = scored(quantus.EffectiveComplexity(**default), images(), target(), heatmaps=beside_a_large_one)
    gini = scored(quantus.Sparseness(**default), images(), target(), heatmaps=beside_a_large_one)
    assert count[0] == 0
    assert gini[0] < 1e-3
    assert effective_complexity(beside_a_large_one)[0] == effective_complexity(maps)[0] == PIXELS
    assert sparseness(maps)[0] > 0.2
    assert sparseness(beside_a_large_one)[0].item() == pytest.approx(sparseness(maps)[0].item(), abs=1e-5)
