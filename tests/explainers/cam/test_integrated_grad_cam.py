"""Integrated Grad-CAM: maps are integrated, differences from the black image's activations are weighed."""

import pytest
import torch
from torch import nn

from lightning_xai import Classifier, GradCAM, IntegratedGradCAM
from tests.explainers.cam import _naive
from tests.explainers.cam._bent import assert_close, bent, gradient_of, maps_of

STEPS = 5


def naive(exact, image, label, relu=True):
    """Sattarzadeh et al. 2021, one step after the other."""
    start = maps_of(exact, torch.zeros_like(image))
    total = torch.zeros(image.shape[1:], dtype=torch.float64)
    for t in range(1, STEPS + 1):
        between = image * t / STEPS
        raw = _naive.weighted_sum(
            maps_of(exact, between) - start, gradient_of(exact, between, label).mean((1, 2)).tolist()
        )
        total += (raw.relu() if relu else raw) / STEPS
    return total


@pytest.mark.parametrize("relu", [True, False])
def test_equals_the_formula(relu):
    net, exact, images, target = bent()
    heatmaps = IntegratedGradCAM(num_steps=STEPS, relu=relu)(net, images, target)
    for heatmap, image, label in zip(heatmaps, images.double(), target.tolist(), strict=True):
        assert_close(heatmap, naive(exact, image, label, relu))


def test_steps_are_rectified_one_by_one():
    """Rectifying their mean would give another map."""
    net, exact, images, target = bent()
    mean = naive(exact, images[0].double(), int(target[0]), relu=False).relu()
    found = IntegratedGradCAM(num_steps=STEPS)(net, images[:1], target[:1])[0].double()
    assert float((found - mean).abs().max()) > 1e-3 * float(mean.abs().max())


def test_by_hand_on_a_network_that_saturates():
    """y = min(2m, 1.2) of the mean m: no gradient at the image (m = 2), but on the first quarter of the path."""

    class Capped(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.Identity()

        def forward(self, x):
            mean = self.maps(x).mean((2, 3))
            return torch.cat([(2 * mean).clamp(max=1.2), -mean], 1)

    net, images = Capped(), torch.tensor([[[[1.0, 3.0]]]])
    assert GradCAM("maps")(net, images, 0).tolist() == [[[0.0, 0.0]]]
    expected = (0.125 + 0.25) / 8  # steps 1 and 2 of 8, where 2m is 0.5 and 1; the gradient is 1 at both places
    assert IntegratedGradCAM("maps", num_steps=8)(net, images, 0).tolist() == [[[expected, 3 * expected]]]


def test_costs_its_steps_and_the_black_image():
    net, _, images, target = bent()
    explainer = IntegratedGradCAM(num_steps=4)
    explainer(net, images, target)
    classifier = Classifier(net, chunk_size=2)
    explainer(classifier, images, target)
    assert classifier.evaluations == 3 * 5 == 3 * explainer.evaluations
    assert IntegratedGradCAM().evaluations == 51


@pytest.mark.parametrize(("steps", "error"), [(0, ValueError), (2.0, TypeError)])
def test_settings_are_checked(steps, error):
    with pytest.raises(error, match="`num_steps`"):
        IntegratedGradCAM(num_steps=steps)
