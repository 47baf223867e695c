from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xai.evidence import Case
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps
from lightning_xai.explainers.explainer import Explainer


class ClassNumber(Explainer):
    """Explain by the number of the class everywhere."""

    evaluations = 0

    def explain(self, classifier, images, target):
        return target[:, None, None].float().expand(-1, 2, 2)


class Fixed(nn.Module):
    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images):
        return self.logits.expand(len(images), -1)


def _found(evidence, *logits, target=0, count=1):
    found = Case(Fixed(*logits), torch.rand(count, 1, 2, 2), target, explainer=ClassNumber())[evidence]
    assert torch.equal(found.heatmaps, found.classes[:, :, None, None].float().expand(-1, -1, 2, 2))
    return found.classes.tolist()


@pytest.mark.parametrize(
    ("evidence", "classes"),
    [
        (ClassHeatmaps(), [3, 1, 0]),
        (ClassHeatmaps(2), [3, 1]),
        (ClassHeatmaps(2, among="all"), [2, 3]),
        (ClassHeatmaps(9, among="all"), [2, 3, 1, 0]),
    ],
)
def test_most_probable_classes(evidence, classes):
    assert _found(evidence, 0.0, 1.0, 9.0, 4.0, target=2) == [classes]


def test_order_survives_probabilities_that_round_to_one_and_zero():
    assert _found(ClassHeatmaps(3), 500.0, -300.0, -200.0, -250.0) == [[2, 3, 1]]
    assert torch.tensor([500.0, -300.0, -200.0, -250.0]).softmax(0)[1:].tolist() == [0.0] * 3


def test_equally_probable_classes_come_in_their_order():
    assert _found(ClassHeatmaps(3), *[1.0] * 40, target=1) == [[0, 2, 3]]


def test_drawn_classes_belong_to_image_and_seed():
    images = torch.rand(50, 1, 2, 2)
    net = Fixed(*[0.0] * 6)

    def drawn(images, **settings):
        return Case(net, images, 2, explainer=ClassNumber())[ClassHeatmaps(2, "seed", **settings)].classes

    found = drawn(images)
    assert torch.equal(drawn(images.flip(0)).flip(0), found)
    assert torch.equal(drawn(images[7:8]), found[7:8])
    assert not torch.equal(drawn(images, seed=1), found)
    assert set(found.flatten().tolist()) == {0, 1, 3, 4, 5}
    assert (found[:, 0] != found[:, 1]).all()
    assert 2 in drawn(images, among="all").flatten().tolist()


def test_a_target_that_the_model_does_not_have():
    with pytest.raises(ValueError, match=r"Expected `target` to be a class in \[0, 1\]"):
        _found(ClassHeatmaps(), 0.0, 1.0, target=2)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_classes": 0}, "Expected `num_classes` to be >= 1"),
        ({"choice": "confident"}, "Expected `choice` to be one of 'confidence', 'seed'.*Did you mean 'confidence'"),
        ({"among": "some"}, "Expected `among` to be one of 'all', 'others'"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        ClassHeatmaps(**settings)
