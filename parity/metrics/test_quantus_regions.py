"""Our metrics that remove patches, most or least relevant first, against those of Quantus.

Quantus returns curves without the unchanged image; `heatmaps` has no ties, and 16 patches of 3 x 3 fill an image.
"""

import numpy as np
import pytest
import quantus
import torch

from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.functional import abpc, aopc, selectivity
from parity._setting import COUNT, close, heatmaps, images, network, target
from parity.metrics._quantus import RAW, scored

PATCHES = 16
GIVEN = {"model": network(), "softmax": True}


def perturbed(order: str) -> np.ndarray:
    metric = quantus.RegionPerturbation(patch_size=3, regions_evaluation=PATCHES, order=order, **RAW)
    drops = scored(metric, images(), target(), heatmaps=heatmaps(), **GIVEN)
    assert drops.shape == (COUNT, PATCHES)
    return drops


def test_selectivity():
    """Selectivity(grid=(4, 4)) = Selectivity(patch_size=3): the area of the curve with its first point, in [0, 1]."""
    theirs = torch.from_numpy(
        scored(quantus.Selectivity(patch_size=3, **RAW), images(), target(), heatmaps=heatmaps(), **GIVEN)
    )
    first = network()(images()).softmax(1).detach().gather(1, target()[:, None])
    whole = torch.cat([first, theirs.float()], 1)
    assert whole.shape == (COUNT, 1 + PATCHES)
    close(selectivity(network(), images(), heatmaps(), target(), grid=(4, 4)), area(whole))


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_aopc(order):
    """AOPC(grid=(4, 4), baseline="minimum", order) = RegionPerturbation(patch_size=3, order): Σ / (L + 1)."""
    ours = aopc(network(), images(), heatmaps(), target(), grid=(4, 4), baseline="minimum", order=order)
    close(ours, perturbed(order).sum(1) / (PATCHES + 1))


def test_abpc():
    """ABPC(grid=(4, 4), baseline="minimum") = the area between the two orders of RegionPerturbation, over [0, 1]."""
    between = torch.from_numpy(perturbed("morf") - perturbed("lerf"))
    between = torch.cat([torch.zeros(COUNT, 1), between], 1)  # both start from the unchanged image
    close(abpc(network(), images(), heatmaps(), target(), grid=(4, 4), baseline="minimum"), area(between))
