"""What curves show of an image is what the model saw."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xai.evidence import Case, ImputationCurve, MaskingCurve, SuperpixelCurve
from lightning_xai.evidence.masking.imputation_curve import imputed
from tests.metrics._harness import Batch, tiny_net

CURVES = [
    MaskingCurve(num_steps=5),
    MaskingCurve("insertion", "blur", num_steps=5),
    MaskingCurve(num_steps=6, grid=(2, 3), baseline="uniform", order="lerf"),
    ImputationCurve((10.0, 50.0, 90.0), noise=0.1),
]


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_changed_images_have_the_scores_of_the_curve(curve):
    batch, net = Batch.draw(3), tiny_net()
    case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps)
    scores = case[curve]
    points = list(range(scores.shape[1]))[::-1]
    assert curve.share_changed(case).shape == scores.shape
    for image in range(3):
        changed = curve.changed_images(case, image, points)
        found = case.classifier.probabilities(case.classifier.logits(changed))[:, batch.target[image]]
        torch.testing.assert_close(found, scores[image].flip(0), rtol=0, atol=1e-6)


def test_changed_images_of_superpixels_have_the_scores_of_the_curve():
    images, heat = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)), torch.rand(2, 24, 24)
    images[1] = 0.0
    images[1, :, :, 12:] = 1.0
    case = Case(nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 2)), images, 1, heatmaps=heat)
    curve = SuperpixelCurve(baseline=0.3)
    scores, shares = case[curve], curve.share_changed(case)
    for image in range(2):
        count = int((~scores[image].isnan()).sum())
        assert shares[image, :count].tolist() == pytest.approx([k / (count - 1) for k in range(count)])
        assert shares[image, count:].isnan().all()
        changed = curve.changed_images(case, image, range(count))
        torch.testing.assert_close(changed[0], images[image])
        assert (changed[-1] == 0.3).all()
        found = case.classifier.probabilities(case.classifier.logits(changed))[:, 1]
        torch.testing.assert_close(found, scores[image, :count], rtol=0, atol=1e-6)


HEAT = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])


def hand_case(images):
    return Case(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), images, 0, heatmaps=HEAT)


def test_changed_images_and_their_shares_by_hand():
    case = hand_case(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    deletion, insertion = (MaskingCurve(way, num_steps=2) for way in ("deletion", "insertion"))
    assert deletion.changed_images(case, 0, [0, 1, 2]).flatten(1).tolist() == [[1, 2, 3, 4], [0, 0, 3, 4], [0, 0, 0, 0]]
    assert insertion.changed_images(case, 0, [2, 1, 0]).flatten(1).tolist() == [
        [1, 2, 3, 4],
        [1, 2, 0, 0],
        [0, 0, 0, 0],
    ]
    assert deletion.share_changed(case).tolist() == insertion.share_changed(case).tolist() == [[0.0, 0.5, 1.0]]


def test_imputed_images_are_those_of_the_linear_system():
    image = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]])
    case, curve = hand_case(image), ImputationCurve((25.0, 75.0), noise=0.0)
    assert curve.share_changed(case).tolist() == [[0.25, 0.75]]
    found = curve.changed_images(case, 0, [1, 0])
    torch.testing.assert_close(found[1, 0, 0, 0], torch.tensor((2 / 6 + 3 / 6 + 5 / 12) / (1 / 6 + 1 / 6 + 1 / 12)))
    torch.testing.assert_close(found[0], imputed(image[0], HEAT[0] > 1.0))


def test_what_happens_is_said():
    words = [curve.description for curve in CURVES]
    assert words[0] == "pixels removed"
    assert words[2] == "cells removed"
    assert len(set(words)) == 4
    assert SuperpixelCurve().description == "superpixels removed"
