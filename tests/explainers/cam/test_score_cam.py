"""Score-CAM: masks, scores and their softmax, one image and one channel at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import Classifier, Readout, ScoreCAM
from lightning_xai.explainers.cam.representatives import representatives
from tests._nets import ConvNet, calibrated, images_through
from tests.explainers.cam import _naive
from tests.explainers.cam._bent import assert_close, bent, maps_of


def naive(net, image, maps, label, weights="softmax"):
    """Wang et al. 2020, eq. 5 to 8; `net` is in float64."""
    scores = []
    for plane in maps:
        if float(plane.max()) == float(plane.min()):
            scores.append(None)
            continue
        mask = F.interpolate(plane[None, None], size=image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        with torch.no_grad():
            logits = net((image * mask)[None])[0]
        scores.append(float(logits[label] if weights == "softmax" else logits.softmax(0)[label]))
    if weights == "softmax":
        total = sum(torch.tensor(s).double().exp() for s in scores if s is not None)
        scores = [None if s is None else float(torch.tensor(s).double().exp() / total) for s in scores]
    return _naive.weighted_sum(maps, [s or 0.0 for s in scores])


@pytest.mark.parametrize("weights", ["softmax", "probability"])
def test_equals_the_formula(weights):
    net, exact, images, target = bent()
    heatmaps = ScoreCAM(weights=weights)(Classifier(net, chunk_size=2), images, target)
    for heatmap, image, label in zip(heatmaps, images.double(), target.tolist(), strict=True):
        assert_close(heatmap, naive(exact, image, maps_of(exact, image), label, weights))


@pytest.mark.parametrize("relu", [True, False])
def test_maps_smaller_than_the_image_are_resized_before_they_are_scaled(relu):
    net, images = calibrated(ConvNet(), size=16), torch.randn(2, 3, 16, 16)
    exact = ConvNet().double().eval()
    exact.load_state_dict(net.state_dict())
    heatmaps = ScoreCAM("features.5", relu=relu)(net, images, 2)
    maps = exact.features[:6](images.double()).detach()  # signed: before the last ReLU
    for heatmap, image, its in zip(heatmaps, images.double(), maps, strict=True):
        raw = naive(exact, image, its, 2)
        raw = F.interpolate((raw.relu() if relu else raw)[None, None], (16, 16), mode="bilinear")[0, 0]
        assert_close(heatmap, raw)


class Masked(nn.Module):
    """Three maps: the image's first channel, its second, and a constant."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Identity()

    def forward(self, x):
        maps = self.maps(torch.cat([x, torch.full_like(x[:, :1], 0.1)], 1))
        return torch.stack([maps[:, 0].sum((1, 2)), -maps[:, 1].sum((1, 2))], 1)


def test_by_hand():
    images = torch.tensor([[[[0.0, 2.0], [1.0, 0.0]], [[4.0, 0.0], [0.0, 4.0]]]])
    # masks [[0, 1], [.5, 0]] and [[1, 0], [0, 1]]: channel 0 then sums to 2.5 and 0
    first, second = torch.tensor([2.5, 0.0]).softmax(0).tolist()
    expected = first * images[0, 0] + second * images[0, 1]
    torch.testing.assert_close(ScoreCAM("maps")(Masked(), images, 0)[0], expected)
    share = [torch.tensor(pair).softmax(0)[0].item() for pair in ([2.5, 0.0], [0.0, -8.0])]
    expected = share[0] * images[0, 0] + share[1] * images[0, 1] + 0 * 0.1
    torch.testing.assert_close(ScoreCAM("maps", weights="probability")(Masked(), images, 0)[0], expected)


def test_constant_maps_are_not_evaluated_and_weigh_nothing():
    net, images = Masked(), torch.rand(3, 2, 4, 4)
    images[1, 0] = 0.3  # and in one image a second map is constant
    images[2] = 0.7  # and in one all are
    classifier = Classifier(net)
    heatmaps = ScoreCAM("maps")(classifier, images, 0)
    assert classifier.evaluations == 3 + (2 + 1 + 0)
    torch.testing.assert_close(heatmaps[1], images[1, 1])  # a softmax over the one map that is left
    assert heatmaps[2].tolist() == torch.zeros(4, 4).tolist()
    assert classifier.evaluations == 6


@pytest.mark.parametrize("chunk_size", [2, 4, 32])
def test_costs_its_masks_and_the_images_and_never_more_than_a_chunk_at_a_time(chunk_size):
    net, images = calibrated(ConvNet(), size=16), torch.randn(3, 3, 16, 16)
    explainer = ScoreCAM("features.5")
    sizes = []
    net.features[0].register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    with images_through(net) as count:
        explainer(Classifier(net, chunk_size=chunk_size), images, 1)
    assert count[0] == 3 * (1 + 12)
    assert max(sizes) <= chunk_size


@pytest.mark.parametrize("weights", ["softmax", "probability"])
@pytest.mark.parametrize("num_channels", [1, 3, 6])
def test_channels_take_the_score_of_their_representative(weights, num_channels):
    net, images = calibrated(ConvNet(), size=16), torch.randn(3, 3, 16, 16)
    exact = ConvNet().double().eval()
    exact.load_state_dict(net.state_dict())
    classifier = Classifier(net, chunk_size=4)
    explainer = ScoreCAM("features.5", weights=weights, num_channels=num_channels)
    heatmaps = explainer(classifier, images, 2)
    assert classifier.evaluations == 3 * (1 + num_channels)
    every = exact.features[:6](images.double()).detach()
    for heatmap, image, maps in zip(heatmaps, images.double(), every, strict=True):
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        stand_in = representatives((maps - low) / (high - low), (high - low)[:, 0, 0], num_channels)
        assert len(stand_in.unique()) == num_channels
        scores = []
        for channel in stand_in:
            mask = F.interpolate(maps[channel][None, None], (16, 16), mode="bilinear")[0, 0]
            with torch.no_grad():
                logits = exact((image * (mask - mask.min()) / (mask.max() - mask.min()))[None])[0]
            scores.append(logits[2] if weights == "softmax" else logits.softmax(0)[2])
        share = torch.stack(scores).softmax(0) if weights == "softmax" else torch.stack(scores)
        raw = (share[:, None, None] * maps).sum(0).relu()
        assert_close(heatmap, F.interpolate(raw[None, None], (16, 16), mode="bilinear")[0, 0])


def test_as_many_channels_as_there_are_give_score_cam():
    net, images = calibrated(ConvNet(), size=16), torch.randn(3, 3, 16, 16)
    whole = ScoreCAM("features.5", num_channels=None)(net, images, 2)
    assert torch.equal(ScoreCAM("features.5", num_channels=12)(net, images, 2), whole)
    alone = torch.cat([ScoreCAM("features.5", num_channels=4)(net, image[None], 2) for image in images])
    torch.testing.assert_close(ScoreCAM("features.5", num_channels=4)(net, images, 2), alone)


def test_constant_maps_are_no_representatives():
    net, images = Masked(), torch.rand(3, 2, 4, 4)
    images[1, 0], images[2] = 0.3, 0.7
    classifier = Classifier(net)
    heatmaps = ScoreCAM("maps", num_channels=1)(classifier, images, 0)
    assert classifier.evaluations == 3 + (1 + 1 + 0)
    torch.testing.assert_close(heatmaps[0], images[0].mean(0))  # both take one score: half the weight each
    torch.testing.assert_close(heatmaps[1], images[1, 1])
    assert heatmaps[2].tolist() == torch.zeros(4, 4).tolist()


def test_a_single_logit_s_probability():
    net, images = calibrated(ConvNet(classes=1), size=16), torch.randn(2, 3, 16, 16)
    explainer = ScoreCAM(weights="probability")
    one, zero = (explainer(Classifier(net, Readout("binary")), images, c) for c in (1, 0))
    maps = F.interpolate(net.features(images).detach(), (16, 16), mode="bilinear")
    live = (net.features(images).amax((2, 3)) > net.features(images).amin((2, 3))).detach()
    torch.testing.assert_close(one + zero, (maps * live[:, :, None, None]).sum(1))  # σ(z) + σ(−z) = 1


def test_settings_are_checked():
    with pytest.raises(ValueError, match="`weights` to be one of 'softmax', 'probability', but got 'logit'"):
        ScoreCAM(weights="logit")
    with pytest.raises(ValueError, match="`num_channels` to be >= 1"):
        ScoreCAM(num_channels=0)
    with pytest.raises(TypeError, match="`num_channels` to be a whole number"):
        ScoreCAM(num_channels=8.0)
