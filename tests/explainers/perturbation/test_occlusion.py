"""Occlusion by value."""

import copy

import pytest
import torch

from lightning_xai import Classifier, Occlusion
from tests._nets import ConvNet, images_through
from tests.explainers.perturbation import _naive
from tests.explainers.perturbation._probability import images, network, probability

SETTINGS = pytest.mark.parametrize(
    ("window", "stride", "baseline"), [(4, 2, 0.0), (5, 5, 0.3), (3, 2, -1.0), (1, 1, 0.0), (30, 7, 0.0), (12, 5, 0.0)]
)
TARGET = torch.tensor([0, 2, 1])


@SETTINGS
def test_equals_the_naive_definition(window, stride, baseline):
    net, batch = network(), images()
    heatmaps = Occlusion(window, stride, baseline)(net, batch, TARGET)
    for heatmap, image, target in zip(heatmaps, batch, TARGET, strict=True):
        expected = _naive.occlusion(probability(net, int(target)), image.double().numpy(), window, stride, baseline)
        torch.testing.assert_close(heatmap.double(), torch.from_numpy(expected), rtol=0, atol=5e-7)
    assert float(heatmaps.min()) < 0 < float(heatmaps.max())


@pytest.mark.parametrize(("window", "stride", "baseline"), [(4, 2, 0.0), (5, 5, 0.3), (3, 2, -1.0), (1, 1, 0.0)])
def test_equals_captum(window, stride, baseline):
    from captum.attr import Occlusion as Captum

    net, batch = network(), images()
    expected = Captum(lambda x: net(x).softmax(1)).attribute(
        batch, (3, window, window), (3, stride, stride), baseline, target=TARGET
    )[:, 0]
    torch.testing.assert_close(Occlusion(window, stride, baseline)(net, batch, TARGET), expected.float())


def test_differences_are_exact_where_the_probability_rounds_to_one():
    """In single precision such a probability does not change, and the map would be 0."""
    net, batch = network(), images(1)
    target = int(net(batch).argmax())
    with torch.no_grad():
        net.fc.bias[target] += 25.0
        assert float(net(batch).softmax(1)[0, target]) == 1.0
        heatmap = Occlusion(4, 2)(net, batch, target)[0].double()
    double = copy.deepcopy(net).double()

    def rest(image):
        with torch.no_grad():
            logits = double(torch.from_numpy(image)[None])[0]
            others = torch.cat([logits[:target], logits[target + 1 :]])
            return float((others.logsumexp(0) - logits.logsumexp(0)).exp())

    expected = torch.from_numpy(_naive.occlusion(lambda x: -rest(x), batch[0].double().numpy(), 4, 2, 0.0))
    assert 0 < float(expected.abs().max()) < 1e-9
    torch.testing.assert_close(heatmap, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_the_window_is_a_14th_of_the_height_and_overlaps_by_half():
    net, batch = ConvNet(), torch.randn(2, 3, 56, 42)
    with images_through(net) as count:
        default = Occlusion()(net, batch, 1)
    assert count[0] == 2 * (1 + 27 * 20)
    assert torch.equal(default, Occlusion(window=4, stride=2)(net, batch, 1))
    assert Occlusion().evaluations is None


def test_of_an_image_smaller_than_14_pixels_each_is_hidden():
    net, batch = network(), images(size=(8, 8))
    assert torch.equal(Occlusion()(net, batch, 1), Occlusion(window=1, stride=1)(net, batch, 1))


@pytest.mark.parametrize("chunk_size", [1, 4, 1000])
def test_no_more_than_a_chunk_is_evaluated_at_a_time(chunk_size):
    net, sizes = network(), []
    net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    Occlusion(4, 4)(Classifier(net, chunk_size=chunk_size), images(), TARGET)
    assert max(sizes) <= chunk_size
    assert sum(sizes) == 3 * (1 + 4 * 3)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"window": 0}, ValueError, "`window` to be >= 1"),
        ({"window": 2.5}, TypeError, "`window` to be a whole number"),
        ({"stride": 0}, ValueError, "`stride` to be >= 1"),
        ({"window": 4, "stride": 5}, ValueError, "`stride` to be at most `window`, 4, so that no pixel is left out"),
        ({"baseline": "blurr"}, ValueError, "`baseline` to be one of .* Did you mean .blur."),
        ({"baseline": {}}, TypeError, "`baseline` to be a finite number"),
        ({"baseline": float("nan")}, ValueError, "`baseline` to be a finite number, .* but got nan"),
    ],
)
def test_wrong_settings_are_said(settings, error, words):
    with pytest.raises(error, match=f"Expected {words}"):
        Occlusion(**settings)


def test_a_stride_that_leaves_gaps_is_said_when_the_window_is_known():
    with pytest.raises(ValueError, match="`stride` to be at most the window, 1 pixels here"):
        Occlusion(stride=2)(network(), images(), TARGET)
