"""Ablation-CAM: relative drops of the score, with nothing but the head computed again."""

import logging

import pytest
import torch
from torch import nn

from lightning_xai import AblationCAM, Classifier
from tests._nets import ConvNet, ImagesConvolved, calibrated, images_through
from tests.explainers.cam import _naive
from tests.explainers.cam._bent import CHANNELS, assert_close, bent, maps_of


def naive(exact, image, label):
    """Desai & Ramaswamy 2020, eq. 3 and 4, with |y| for y."""
    maps = maps_of(exact, image)
    score = exact.head(maps[None])[0, label].item()
    weights = []
    for k in range(len(maps)):
        without = maps.clone()
        without[k] = 0
        weights.append((score - exact.head(without[None])[0, label].item()) / abs(score))
    return _naive.weighted_sum(maps, weights)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 3])
def test_equals_the_formula(relu, chunk_size):
    net, exact, images, target = bent()
    heatmaps = AblationCAM(relu=relu)(Classifier(net, chunk_size=chunk_size), images, target)
    pairs = zip(images.double(), target.tolist(), strict=True)
    expected = torch.stack([naive(exact, image, label) for image, label in pairs])
    assert_close(heatmaps, expected.relu() if relu else expected)


def test_a_negative_score_is_not_turned_over():
    """Logits −3 and −2 without the first map: it lowers the score, so its weight is negative."""
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1, bias=False))
    net[3].weight.data = torch.tensor([[-1.0, -2.0]])
    images = torch.tensor([[[[1.0, 1.0]], [[0.0, 2.0]]]])
    heatmap = AblationCAM(relu=False)(net, images, 1)  # y = −3; −2 and −1 without: weights −1/3 and −2/3
    torch.testing.assert_close(heatmap, torch.tensor([[[-1 / 3, -1 / 3 - 4 / 3]]]))


def test_a_score_of_zero_does_not_divide():
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1, bias=False))
    net[3].weight.data = torch.tensor([[1.0, -1.0]])
    images = torch.tensor([[[[2.0, 2.0]], [[0.0, 4.0]]]])  # both means are 2: y = 0; −2 and 2 without: weights 2 and −2
    assert AblationCAM(relu=False)(net, images, 1).tolist() == [[[4.0, -4.0]]]


def test_the_model_is_evaluated_once_per_image_and_the_way_to_the_layer_is_computed_once():
    net, images = calibrated(ConvNet(), size=16), torch.randn(4, 3, 16, 16)
    explainer = AblationCAM()
    explainer(net, images, 1)
    classifier = Classifier(net, chunk_size=2)
    with ImagesConvolved(net.features[0]) as first, images_through(net.fc) as last:
        explainer(classifier, images, 1)
    assert classifier.evaluations == first.count == 4
    assert last[0] > 4


def test_where_the_head_cannot_run_alone_the_whole_model_is_evaluated_and_counted(caplog):
    net, _, images, target = bent()
    expected = AblationCAM("conv")(bent()[0], images, target)
    calls = [0]

    def unsteady(_, args):  # one more operation in every pass
        calls[0] += 1
        for _ in range(calls[0]):
            args[0].sum()

    net.register_forward_pre_hook(unsteady)
    classifier = Classifier(net)
    with caplog.at_level(logging.INFO, "lightning_xai"):
        assert_close(AblationCAM("conv")(classifier, images, target), expected)
    assert classifier.evaluations == 3 * (1 + CHANNELS)
    assert "After the output of `conv` of Bent nothing runs alone" in caplog.text


def test_a_target_out_of_range_is_said():
    with pytest.raises(ValueError, match=r"class in \[0, 2\], the model's 3 classes, but got 3"):
        AblationCAM()(bent()[0], bent()[2], 3)
