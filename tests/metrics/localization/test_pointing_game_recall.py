from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.functional import pointing_game_recall
from lightning_xai.metrics import PointingGameRecall
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net
from tests.metrics.randomization._explainers import LastLayer, last_layer


def _reference(view, threshold=0.5, relative=True, num_classes=5):
    if not view.mask.any():
        return math.nan
    top = np.argsort(-view.logits(view.image))[:num_classes]
    maps = {c: last_layer(view.double, view.image, c) for c in top}
    largest = max(m.max() for m in maps.values()) if relative else 1.0
    hits = 0.0
    for c, heat in maps.items():
        kept = heat.max() > 0 and heat.max() >= threshold * largest
        if c == view.target:
            peaks = _naive.hottest(heat)
            hits += kept * sum(view.mask[peak] for peak in peaks) / len(peaks)
        else:
            hits += not kept
    return hits / len(maps)


ENTRY = Entry(
    "pointing_game_recall",
    ("model", "images", "explainer", "target", "masks"),
    _reference,
    variants=(
        {"threshold": 0.9},
        {"relative": False},
        {"relative": False, "threshold": 1.0},
        {"num_classes": 2, "threshold": 0.95},
    ),
    explainer=LastLayer(),
)

LOGITS = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]


class Fixed(nn.Module):
    def forward(self, images):
        return torch.tensor([LOGITS]).expand(len(images), -1)


class Peaks(Explainer):
    """Explain class c by a peak of the given height in pixel c."""

    evaluations = 0

    def __init__(self, *heights):
        self.heights = heights

    def explain(self, classifier, images, target):
        maps = torch.diag(torch.tensor(self.heights))[target]
        return maps[:, None, :]


def _recall(heights, target, inside, **settings):
    mask = torch.zeros(1, 1, 7, dtype=torch.bool)
    mask[0, 0, inside] = True
    images = torch.zeros(1, 1, 1, 7)
    return pointing_game_recall(Fixed(), images, Peaks(*heights), target, mask, **settings).item()


@pytest.mark.parametrize(
    ("heights", "target", "inside", "settings", "hits"),
    [
        ([1.0, 0.4, 0.4, 0.4, 0.4, 9.0, 9.0], 0, [0], {}, 5),  # two classes are not among the top five
        ([1.0, 0.4, 0.4, 0.4, 0.4, 9.0, 9.0], 0, [1], {}, 4),  # kept, beside the object
        ([1.0, 0.6, 0.6, 0.4, 0.4, 9.0, 9.0], 0, [0], {}, 3),
        ([1.0, 0.5, 0.4, 0.4, 0.4, 9.0, 9.0], 0, [0], {}, 4),  # the threshold itself is kept
        ([0.4, 1.0, 0.4, 0.4, 0.4, 9.0, 9.0], 0, [0], {}, 3),  # the annotated class is rejected, another one kept
        ([1.0, 0.4, 0.4, 0.4, 0.4, 9.0, 9.0], 6, [6], {}, 4),  # the annotated class is not predicted
        ([1.0, 0.6, 0.6, 0.4, 0.4, 9.0, 9.0], 0, [0], {"threshold": 0.7}, 5),
        ([8.0, 4.0, 1.0, 0.4, 0.4, 9.0, 9.0], 0, [0], {"relative": False}, 3),
        ([0.4, 0.3, 0.3, 0.3, 0.3, 9.0, 9.0], 0, [0], {"relative": False}, 4),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 9.0], 0, [0], {}, 4),  # no heat is a rejection
        ([0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 9.0], 0, [0], {"threshold": 0}, 4),
        ([0.4, 1.0, 0.4, 0.4, 0.4, 9.0, 9.0], 0, [0], {"num_classes": 1}, 5),
        ([0.4, 1.0, 0.4, 0.4, 0.4, 9.0, 9.0], 0, [1], {"num_classes": 1}, 0),
        ([0.4, 0.5, 0.4, 0.4, 0.4, 9.0, 9.0], 6, [1], {"num_classes": 7}, 25 / 7),
        ([-2.0, -1.0, -1.0, -1.0, -3.0, 9.0, 9.0], 0, [0], {}, 4),
    ],
)
def test_by_hand(heights, target, inside, settings, hits):
    assert _recall(heights, target, inside, **settings) == pytest.approx(hits / 5)


def test_a_tied_maximum_counts_by_its_share():
    class Constant(Explainer):
        evaluations = 0

        def explain(self, classifier, images, target):
            return (target == 0).float()[:, None, None].expand(-1, 1, 7)

    mask = torch.tensor([[[True, True, False, False, False, False, False]]])
    value = pointing_game_recall(Fixed(), torch.zeros(1, 1, 1, 7), Constant(), 0, mask)
    assert value.item() == pytest.approx((4 + 2 / 7) / 5)


def test_cost():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)

    class Evaluating(Explainer):
        def explain(self, classifier, images, target):
            classifier.forward(images)
            return images[:, 0]

    metric = PointingGameRecall(num_classes=2)
    metric.update(model=net, images=batch.images, target=batch.target, masks=batch.masks, explainer=Evaluating())
    assert count.images / 3 == metric.evaluations() == 3


@pytest.mark.parametrize("settings", [{"threshold": -1.0}, {"num_classes": 0}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(settings))}` to be >="):
        PointingGameRecall(**settings)
