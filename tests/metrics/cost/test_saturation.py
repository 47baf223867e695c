from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.evidence import Case
from lightning_xai.functional import saturation
from lightning_xai.metrics import MetricSuite, Saturation
from tests._nets import TinyViT
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, View, close, tiny_net


def _activations(view, image):
    with torch.no_grad():
        return view.double[:4](torch.from_numpy(image)[None])[0].numpy().ravel()


def _cosines(view, num_steps=25):
    whole, found = _activations(view, view.image), []
    for k in range(1, num_steps + 1):
        part = _activations(view, k / num_steps * view.image)
        found.append((part * whole).sum() / math.sqrt((part**2).sum() * (whole**2).sum()))
    return found


def _reference(view, num_steps=25, target_layer="auto"):
    return _naive.area(_cosines(view, num_steps))


ENTRY = Entry(
    "saturation",
    ("model", "images"),
    _reference,
    variants=({"num_steps": 2}, {"num_steps": 7}),
    undefined_by_model=True,
    base={"target_layer": "3"},
)


class Shifted(nn.Module):
    """Activations x + b: the direction turns from b to x + b."""

    def __init__(self, bias):
        super().__init__()
        self.layer = nn.BatchNorm2d(1)  # its output is the target layer
        self.layer.eps = 0.0
        self.layer.bias.data.fill_(bias)

    def forward(self, images):
        return self.layer(images).flatten(1)


def test_by_hand():
    # x = (4, 0), b = 1: A(αx) = (4α + 1, 1)
    cosine = [(5 * (4 * a + 1) + 1) / math.sqrt(26 * ((4 * a + 1) ** 2 + 1)) for a in (0.25, 0.5, 0.75, 1.0)]
    value = saturation(Shifted(1.0), torch.tensor([[[[4.0, 0.0]]]]), num_steps=4, target_layer="layer")
    assert value.item() == pytest.approx((cosine[0] / 2 + cosine[1] + cosine[2] + cosine[3] / 2) / 3)


def test_a_linear_layer_never_turns():
    assert saturation(Shifted(0.0), torch.rand(3, 1, 4, 4), target_layer="layer").tolist() == pytest.approx([1.0] * 3)


def test_an_image_without_activations_is_undefined_but_dead_small_intensities_count_zero():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.ReLU()

        def forward(self, images):
            return self.layer(images - 0.5).flatten(1)

    images = torch.tensor([1.0, 0.4])[:, None, None, None].expand(2, 1, 2, 2)
    metric = Saturation(num_steps=4, target_layer="layer")
    metric.update(model=Gate(), images=images)
    assert metric.rows.tolist() == pytest.approx([(0 / 2 + 0 + 1 + 1 / 2) / 3, math.nan], nan_ok=True)
    assert metric.undefined == 1


def test_tiny_activations_do_not_vanish():
    class Small(Shifted):
        def forward(self, images):
            return self.layer(images).flatten(1)

    net = Small(0.0)
    net.layer.weight.data.fill_(1e-30)
    assert saturation(net, torch.rand(1, 1, 4, 4), target_layer="layer").tolist() == pytest.approx([1.0])


def test_curves():
    batch, net = Batch.draw(3), tiny_net()
    case, metric = Case(net, batch.images, batch.target), Saturation(num_steps=5)
    curves = metric.curves(case)
    assert curves.alphas == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    for i in range(3):
        view = View(batch[[i]], net)
        close(curves.cosine[i], torch.tensor(_cosines(view, 5)))
        images = [alpha * view.image for alpha in curves.alphas]
        close(curves.probability[i], torch.tensor([view.f(image) for image in images]))
        close(curves.logit[i], torch.tensor(np.array([view.logits(image)[view.target] for image in images])))


def test_cost_and_sharing():
    batch, net = Batch.draw(4), tiny_net()
    count = EvaluationCount(net)
    metric = Saturation()
    metric.update(model=net, images=batch.images)
    assert count.images == 25 * 4 + 4  # the layer is searched once per model, with two images and two passes
    count.images = 0
    metric.update(model=net, images=batch.images)
    assert count.images / 4 == metric.evaluations() == 25
    case, suite = Case(net, batch.images), MetricSuite([metric])
    count.images = 0
    for target in (batch.target, (batch.target + 1) % 3):
        other = case.with_heatmaps(batch.heatmaps, target=target)
        suite.score(other)
        metric.curves(other)
    assert count.images / 4 == 25


def test_tokens():
    value = saturation(TinyViT(), torch.rand(2, 3, 16, 16), num_steps=3)
    assert ((value > -1) & (value < 1)).all()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"num_steps": 1}, ValueError, "Expected `num_steps` to be >= 2, but got 1"),
        ({"target_layer": nn.ReLU()}, TypeError, "Expected `target_layer` to be 'auto' or a name, but got ReLU"),
    ],
)
def test_settings_are_checked(settings, error, text):
    with pytest.raises(error, match=text):
        Saturation(**settings)
