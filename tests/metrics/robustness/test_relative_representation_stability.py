from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xai import GradCAM
from lightning_xai._randomness import content_keys
from lightning_xai.evidence import Neighbourhood
from lightning_xai.functional import relative_representation_stability
from tests.metrics._harness import Batch, close, tiny_net
from tests.metrics.robustness._stability import (
    FirstValue,
    SquaresAtLayer,
    activations,
    change,
    close_at_defaults,
    stability_entry,
)

ENTRY = stability_entry(
    "relative_representation_stability",
    lambda view, noisy, relative: change(activations(view, view.image), activations(view, noisy), relative),
)


def _at(layer):
    explainer = FirstValue()
    explainer.target_layer = layer
    return explainer


@pytest.mark.parametrize("layer", ["0", "auto", ["0", "1"]])
def test_by_hand(layer):
    # the layer doubles the image, which relative changes do not see
    double, image = nn.Conv2d(1, 1, 1, bias=False), torch.tensor([[[[4.0, 2.0], [2.0, 2.0]]]])
    nn.init.constant_(double.weight, 2.0)
    net = nn.Sequential(double, nn.Identity(), nn.Flatten())
    value = relative_representation_stability(net, image, _at(layer), target=0, absolute=True)
    noise = [Neighbourhood().draw(content_keys(image), (1, 2, 2), j)[0].double() for j in range(10)]
    expected = max((e[0, 0, 0].abs() / 4) / (e.norm() / image.norm()) for e in noise)
    assert value.item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_explainers_layer_is_read():
    batch, net = Batch.draw(4), tiny_net()
    values = {}
    for layer in ("0", "3"):
        explainer = SquaresAtLayer()
        explainer.target_layer = layer
        values[layer] = relative_representation_stability(
            net, batch.images, explainer, batch.target, heatmaps=batch.heatmaps
        )
    assert (values["0"] != values["3"]).all()
    close(relative_representation_stability(**ENTRY.given(batch, net)), values["3"])


def test_with_the_map_of_the_same_layer():
    batch, net = Batch.draw(3), tiny_net()
    value = relative_representation_stability(net, batch.images, GradCAM(target_layer="2"), batch.target)
    assert (value[value.isfinite()] > 0).all()
    assert value.isfinite().any()


def test_defaults_are_the_definition():
    close_at_defaults(ENTRY)
