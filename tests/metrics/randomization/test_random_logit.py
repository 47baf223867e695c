from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lightning_xai import FakeCAM
from lightning_xai._randomness import content_keys, uniform
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.functional import random_logit
from lightning_xai.metrics import RandomLogit
from tests.metrics._harness import CLASSES, Batch, Entry, EvaluationCount, tiny_net
from tests.metrics.randomization._explainers import LastLayer, is_degenerate, last_layer
from tests.metrics.test_similarity import naive_ssim


def _reference(view, similarity="ssim", seed=0):
    drawn = uniform(content_keys(view.batch.images), (CLASSES,), seed=seed, purpose="classes")[0].tolist()
    other = max((c for c in range(CLASSES) if c != view.target), key=lambda c: drawn[c])
    heat = last_layer(view.double, view.image, other)
    if is_degenerate(view.heat) or is_degenerate(heat):
        return math.nan
    if similarity == "spearman":
        return spearmanr(view.heat.ravel(), heat.ravel()).statistic
    return naive_ssim(view.heat, heat)


ENTRY = Entry(
    "random_logit",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=({"similarity": "spearman"}, {"seed": 5}),
    explainer=LastLayer(),
)


class PerClass(Explainer):
    evaluations = 0

    def __init__(self, *maps):
        self._maps = torch.tensor(maps)

    def explain(self, classifier, images, target):
        return self._maps[target][:, None]


@pytest.mark.parametrize(
    ("maps", "value"),
    [
        (([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), 1.0),
        (([1.0, 2.0, 3.0], [5.0, 7.0, 6.0]), 0.5),
        (([1.0, 2.0, 3.0], [0.0, -1.0, -2.0]), -1.0),
        (([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), math.nan),
        (([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), math.nan),
    ],
)
def test_by_hand(maps, value):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    found = random_logit(net, torch.rand(1, 1, 1, 3), PerClass(*maps), target=0, similarity="spearman")
    assert found.item() == pytest.approx(value, nan_ok=True)


def test_every_other_class_is_drawn_equally_often_and_the_target_never():
    class Noted(Explainer):
        evaluations = 0
        asked = torch.zeros(0, dtype=torch.int64)

        def explain(self, classifier, images, target):
            Noted.asked = torch.cat([Noted.asked, target])
            return images[:, 0]

    images = torch.rand(600, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    target = torch.arange(600) % 4
    random_logit(nn.Flatten(), images, Noted(), target, heatmaps=images[:, 0])
    table = torch.zeros(4, 4).index_put_((target, Noted.asked), torch.tensor(1.0), accumulate=True)
    assert table.diagonal().tolist() == [0.0] * 4
    assert table[~torch.eye(4, dtype=torch.bool)].min() > 30  # of 50


def test_a_map_that_ignores_the_class_scores_worst():
    batch = Batch.draw(3)
    assert random_logit(tiny_net(), batch.images, FakeCAM(), batch.target).tolist() == pytest.approx([1.0] * 3)


def test_a_binary_model_has_one_other_class():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 1))
    value = random_logit(
        net, torch.rand(1, 1, 1, 3), PerClass([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]), 1, similarity="spearman"
    )
    assert value.item() == pytest.approx(-1.0)


def test_without_another_class():
    from lightning_xai.model.classifier import Classifier
    from lightning_xai.model.readout import Readout

    net = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3, 1)), Readout(task="multilabel"))
    with pytest.raises(ValueError, match="Expected the model to have a class beside the target, but it has only one"):
        random_logit(net, torch.rand(1, 1, 1, 3), FakeCAM(), target=0)


def test_cost():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)

    class Evaluating(LastLayer):
        def explain(self, classifier, images, target):
            classifier.forward(images)
            return super().explain(classifier, images, target)

    metric = RandomLogit()
    metric.update(**{**ENTRY.given(batch, net), "explainer": Evaluating()})
    assert count.images / 3 == metric.evaluations() == 2


def test_similarity_is_checked():
    with pytest.raises(ValueError, match="Expected `similarity` to be one of 'spearman', 'ssim'"):
        RandomLogit(similarity="mse")
