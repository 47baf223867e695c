"""Our localization metrics against those of Quantus."""

import math

import numpy as np
import pytest
import quantus
import torch

from lightning_xai.functional import (
    attribution_localization,
    localization_auc,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    top_k_intersection,
)
from parity._setting import PIXELS, close, heatmaps, images, masks, target
from parity.metrics._quantus import RAW, scored


def empty(index: int) -> torch.Tensor:
    made = masks()
    made[index] = False
    return made


def test_relevance_rank_accuracy():
    """RelevanceRankAccuracy() = RelevanceRankAccuracy(): hits among as many top pixels as the mask has, no ties."""
    theirs = scored(quantus.RelevanceRankAccuracy(**RAW), images(), target(), heatmaps=heatmaps(), masks=empty(2))
    close(relevance_rank_accuracy(heatmaps(), empty(2)), theirs)
    assert math.isnan(theirs[2])


def test_relevance_mass_accuracy():
    """RelevanceMassAccuracy() = RelevanceMassAccuracy(): of maps that are nowhere negative."""
    theirs = scored(quantus.RelevanceMassAccuracy(**RAW), images(), target(), heatmaps=heatmaps(), masks=empty(2))
    close(relevance_mass_accuracy(heatmaps(), empty(2)), theirs)
    assert math.isnan(theirs[2])


def test_attribution_localization():
    """AttributionLocalization(weighted=False) = AttributionLocalisation(weighted=False), of positive maps."""
    metric = quantus.AttributionLocalisation(weighted=False, **RAW)
    theirs = scored(metric, images(), target(), heatmaps=heatmaps(), masks=masks())
    close(attribution_localization(heatmaps(), masks()), theirs)


def test_top_k_intersection():
    """TopKIntersection(k=30) = TopKIntersection(k=30): share of the 30 hottest pixels in the mask."""
    metric = quantus.TopKIntersection(k=30, concept_influence=False, **RAW)
    theirs = scored(metric, images(), target(), heatmaps=heatmaps(), masks=masks())
    close(top_k_intersection(heatmaps(), masks(), k=30), theirs)


def test_localization_auc():
    """LocalizationAUC() = AUC(): area under the ROC curve of heat against the mask."""
    theirs = scored(quantus.AUC(**RAW), images(), target(), heatmaps=heatmaps(), masks=masks())
    close(localization_auc(heatmaps(), masks()), theirs)


def test_difference_negative_heat():
    """Quantus sums signed heat, so that the share inside the mask can exceed 1; ours counts positive heat."""
    maps = heatmaps() * torch.where(masks(), 3.0, 1.0) * torch.where(heatmaps(seed=5) > 0.3 + 0.3 * ~masks(), 1.0, -1.0)
    theirs = scored(quantus.RelevanceMassAccuracy(**RAW), images(), target(), heatmaps=maps, masks=masks())
    ours = relevance_mass_accuracy(maps, masks())
    assert theirs.max() > 1.0 >= ours.max()
    rectified = scored(quantus.RelevanceMassAccuracy(**RAW), images(), target(), heatmaps=maps.relu(), masks=masks())
    close(ours, rectified)


def test_no_oracle_pointing_game_of_quantus_takes_an_empty_mask_for_a_hit():
    """It writes NaN into booleans, where it is true; ours is undefined there. Elsewhere both agree."""
    theirs = scored(quantus.PointingGame(**RAW), images(), target(), heatmaps=heatmaps(), masks=empty(2))
    ours = pointing_game(heatmaps(), empty(2))
    assert theirs[2] == 1.0
    assert math.isnan(ours[2])
    rest = torch.arange(6) != 2
    torch.testing.assert_close(ours[rest], torch.from_numpy(theirs.astype(np.float32))[rest], rtol=0, atol=0)


def test_no_oracle_weighted_localisation_of_quantus_depends_on_the_number_of_images():
    """It counts the values of the images from the third on instead of the pixels of one; ours weighs each alone."""
    metric = quantus.AttributionLocalisation(weighted=True, **RAW)
    found = [
        scored(metric, images()[:n], target()[:n], heatmaps=heatmaps()[:n], masks=masks()[:n])[0] for n in (3, 4, 6)
    ]
    assert found[0] == pytest.approx(2 * found[1]) == pytest.approx(4 * found[2])
    share = attribution_localization(heatmaps(), masks())
    area = masks().flatten(1).sum(1) / PIXELS
    torch.testing.assert_close(attribution_localization(heatmaps(), masks(), weighted=True), share / area)
