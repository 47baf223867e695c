from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xai.evidence import Case
from lightning_xai.evidence.models.randomized_heatmaps import RandomizedHeatmaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests._nets import ConvNet, differences, state_of


class Weights(Explainer):
    """Explain by the sums of the weights of every layer of the model, one per pixel."""

    evaluations = 0

    def explain(self, classifier, images, target):
        sums = torch.stack([parameter.detach().double().sum() for parameter in classifier.model.parameters()])
        return sums.float()[None, None, :].expand(len(images), 1, -1)


class Steps(nn.Module):
    """A model that defines only steps, with a teacher that has no part in the logits."""

    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(3, 3)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3), nn.Linear(3, 2))

    def forward(self, images):
        raise NotImplementedError


def test_only_what_gives_the_logits_is_redrawn():
    model = Steps()
    classifier = Classifier(model, Readout(forward="net"))
    images = torch.rand(2, 1, 1, 6)
    before = state_of(model)
    intact = Weights()(classifier, images, 0)
    maps = Case(classifier, images, 0, explainer=Weights())[RandomizedHeatmaps(seed=1)]
    assert maps.shape == (2, 2, 1, 6)
    same = maps == intact[:, None]  # teacher weight, bias; first weight, bias; second weight, bias
    assert same[0, :, 0].tolist() == [[True] * 4 + [False] * 2, [True, True] + [False] * 4]
    assert differences(before, state_of(model)) == []


def test_maps_belong_to_the_explainer_and_are_collected_once():
    calls = []

    class Noted(Weights):
        def explain(self, classifier, images, target):
            calls.append(len(images))
            return super().explain(classifier, images, target)

    model = ConvNet()
    classifier = Classifier(model, Readout(chunk_size=2))
    case = Case(classifier, torch.rand(5, 3, 8, 8), 0, explainer=Noted())
    for _ in range(2):
        case[RandomizedHeatmaps(num_steps=3)]
    assert calls == [2, 2, 1] * 3
    case.with_heatmaps(explainer=Noted())[RandomizedHeatmaps(num_steps=3)]
    assert calls == [2, 2, 1] * 6


def test_a_missing_explainer_is_named_before_anything_is_touched():
    model = ConvNet()
    versions = [parameter._version for parameter in model.parameters()]
    with pytest.raises(ValueError, match="Expected `explainer` to be given"):
        Case(model, torch.rand(1, 3, 8, 8), 0)[RandomizedHeatmaps()]
    assert [parameter._version for parameter in model.parameters()] == versions


def test_seed_is_checked():
    with pytest.raises(TypeError, match="Expected `seed` to be a whole number, but got float"):
        RandomizedHeatmaps(seed=0.5)
