from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai import FakeCAM
from lightning_xai.functional import contrastivity
from lightning_xai.metrics import Contrastivity
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net
from tests.metrics.randomization._explainers import LastLayer, last_layer
from tests.metrics.randomization.test_random_logit import PerClass


def _shown(heat, percentile):
    positive = sorted(heat[heat > 0])
    if not positive:
        return np.zeros(heat.shape, dtype=bool)
    place = Fraction(len(positive) - 1) * Fraction(str(percentile)) / 100
    below = positive[int(place)]
    above = positive[min(int(place) + 1, len(positive) - 1)]
    return heat >= below + (above - below) * float(place - int(place))


def _reference(view, percentile=10.0, num_classes=10):
    others = [c for c in np.argsort(-view.logits(view.image)) if c != view.target][:num_classes]
    own, found = _shown(view.heat, percentile), []
    for c in others:
        other = _shown(last_layer(view.double, view.image, c), percentile)
        if (own | other).any():
            found.append((own != other).sum() / (own | other).sum())
    return float(np.mean(found)) if found else math.nan


ENTRY = Entry(
    "contrastivity",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=({"percentile": 1.0}, {"num_classes": 1}, {"percentile": 50}),
    explainer=LastLayer(),
    undefined_by_model=True,  # the other classes' heatmaps say something
)

NONE = [0.0, -1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("maps", "value"),
    [
        (([1.0, 1.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]), 0.0),
        (([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 3.0]), 1.0),
        (([1.0, 1.0, 0.0, 0.0], [0.0, 2.0, 2.0, 0.0]), 2 / 3),
        (([1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 1.0, 0.0]), 1 / 3),  # the lowest of three values is below their percentile
        (([1.0, 1.0, 0.0, 0.0], NONE), 1.0),
        ((NONE, [1.0, 1.0, 0.0, 0.0]), 1.0),
        ((NONE, NONE), math.nan),
        (([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]), 0.5),  # the mean over classes
        ((NONE, NONE, [1.0, 0.0, 0.0, 0.0]), 1.0),  # an empty union is left out
    ],
)
def test_by_hand(maps, value):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, len(maps)))
    found = contrastivity(net, torch.rand(1, 1, 1, 4), PerClass(*maps), target=0)
    assert found.item() == pytest.approx(value, nan_ok=True)


def test_only_the_most_probable_other_classes_count():
    logits = torch.tensor([[0.0, 5.0, 4.0, 3.0]])

    class Fixed(nn.Module):
        def forward(self, images):
            return logits.expand(len(images), -1)

    same, other = [1.0, 0.0], [0.0, 1.0]
    explainer = PerClass(same, same, other, other)
    for num_classes, value in ((1, 0.0), (2, 0.5), (3, 2 / 3), (10, 2 / 3)):
        found = contrastivity(Fixed(), torch.rand(1, 1, 1, 2), explainer, target=0, num_classes=num_classes)
        assert found.item() == pytest.approx(value)


def test_a_map_that_ignores_the_class_scores_worst():
    batch = Batch.draw(3)
    assert contrastivity(tiny_net(), batch.images, FakeCAM(), batch.target).tolist() == [0.0] * 3


def test_cost():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)

    class Evaluating(LastLayer):
        def explain(self, classifier, images, target):
            classifier.forward(images)
            return super().explain(classifier, images, target)

    for num_classes, expected in ((10, 3), (2, 3), (1, 2)):  # there are only two other classes
        count.images = 0
        metric = Contrastivity(num_classes=num_classes)
        metric.update(**{**ENTRY.given(batch, net), "explainer": Evaluating()})
        assert count.images / 3 == expected <= metric.evaluations()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"percentile": -1}, r"Expected `percentile` to be >= 0\.0"),
        ({"percentile": 101}, "Expected `percentile` to be at most 100, but got 101"),
        ({"num_classes": 0}, "Expected `num_classes` to be >= 1"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        Contrastivity(**settings)
