"""Our class activation maps against those of pytorch-grad-cam and torchcam, at a layer of the images' resolution.

ours = theirs: `target_layer="4"`, what enters the classifier = the same module; a class per image. torchcam returns
maps as they are with ``normalized=False``; pytorch-grad-cam always scales each map to [0, 1], so ours is scaled too.
"""

import numpy as np
import pytest
import pytorch_grad_cam as pgc
import torch
import torchcam.methods as tc
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

import lightning_xai as xai
from parity._setting import images, network, target

LAYER = 4  # a ReLU: no activation is negative


def ours(name, net=None, layer=LAYER, **settings):
    return getattr(xai, name)(str(layer), **settings)(net or network(), images(), target())


def of_pytorch_grad_cam(name, net=None, layer=LAYER):
    net = net or network()
    with getattr(pgc, name)(model=net, target_layers=[net[layer]]) as method:
        return torch.from_numpy(method(images(), [ClassifierOutputTarget(c) for c in target().tolist()]))


def of_torchcam(name, net=None, layer=LAYER):
    net, given = net or network(), images().requires_grad_()
    with getattr(tc, name)(net, net[layer]) as method:
        return method(target().tolist(), net(given), normalized=False)[0].detach()


def scaled(maps):
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def maps_of(net, layer=LAYER):
    with torch.no_grad():
        return net[: layer + 1](images())


def same(found, expected, tolerance=1e-4):
    """Assert that maps agree, relative to each one's largest value, and say something."""
    assert bool((expected.flatten(1).std(1) > 0).all())
    size = expected.abs().amax((1, 2), keepdim=True)
    torch.testing.assert_close(found / size, expected / size, rtol=0, atol=tolerance)


def difference(first, second):
    """Return how far two maps are apart, relative to the second."""
    return float(((first - second).abs().amax((1, 2)) / second.abs().amax((1, 2))).max())


METHODS = ("GradCAM", "XGradCAM", "LayerCAM")


@pytest.mark.parametrize("name", [*METHODS, "HiResCAM", "ScoreCAM"])
def test_pytorch_grad_cam(name):
    same(scaled(ours(name)), of_pytorch_grad_cam(name))


@pytest.mark.parametrize("name", [*METHODS, "ScoreCAM"])
def test_torchcam(name):
    same(ours(name), of_torchcam(name))


def positive():
    """Return the network with a bias that makes every logit positive."""
    net = network()
    with torch.no_grad():
        net[6].bias += 20.0
    return net


def test_pytorch_grad_cam_ablation():
    """ours = theirs where y > 0 and the layer's least activation is 0."""
    same(scaled(ours("AblationCAM", positive())), of_pytorch_grad_cam("AblationCAM", positive()))


def test_difference_pytorch_grad_cam_ablation_divides_by_a_negative_score():
    """Theirs: (y − y_k) / y, which turns the map over; ours divides by |y|."""
    net = network()
    with torch.no_grad():
        net[6].bias -= 20.0
    turned = (-ours("AblationCAM", net, relu=False)).relu()
    same(scaled(turned), of_pytorch_grad_cam("AblationCAM", net))
    assert difference(scaled(ours("AblationCAM", net)), scaled(turned)) > 0.1


def test_difference_pytorch_grad_cam_ablation_of_signed_layers():
    """Theirs: an ablated channel of a signed layer becomes −1e7, ours 0, as in the paper; a ReLU after it hides it."""
    net = positive()
    same(scaled(ours("AblationCAM", net, 3)), of_pytorch_grad_cam("AblationCAM", net, 3))
    net = nn.Sequential(*net[:4], *net[5:])
    assert difference(scaled(ours("AblationCAM", net, 3)), of_pytorch_grad_cam("AblationCAM", net, 3)) > 0.1


def test_difference_pytorch_grad_cam_eigen_cam_is_centred():
    """Theirs: feature maps minus their means, any sign, then rectified; ours: as they are, with a sum ≥ 0."""
    maps = maps_of(network())
    centred = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(maps[0].numel(), 4))
    projected = xai.EigenCAM("0")(centred, maps - maps.mean((2, 3), keepdim=True), target())
    for found, theirs in zip(projected, of_pytorch_grad_cam("EigenCAM"), strict=True):
        fits = [np.allclose(scaled(s * found[None]).relu()[0], theirs, atol=1e-4) for s in (1, -1)]
        rectified = [np.allclose(scaled((s * found[None]).relu())[0], theirs, atol=1e-4) for s in (1, -1)]
        assert any(fits) or any(rectified)
    assert difference(scaled(ours("EigenCAM")), of_pytorch_grad_cam("EigenCAM")) > 0.1


def small():
    """Return a network whose target layer, number 4, has a quarter of the images' places, and one constant map."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)])
        nn.init.normal_(net[7].weight, std=2.0)
    with torch.no_grad():
        net[3].weight[2], net[3].bias[2] = 0.0, 5.0
    return net.eval()


def score_cam(net, resize, constant):
    """Score-CAM with a given resizing of masks, and with or without the constant map's weight."""
    maps, rows = maps_of(net), torch.arange(len(images()))
    scores = []
    for k in range(maps.shape[1]):
        mask = resize(maps[:, k : k + 1])
        low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
        with torch.no_grad():
            scores.append(net(images() * (mask - low) / (high - low + 1e-8))[rows, target()])
    scores = torch.stack(scores, 1)
    if not constant:
        scores[maps.amax((2, 3)) == maps.amin((2, 3))] = -torch.inf
    return (scores.softmax(1)[:, :, None, None] * maps).sum(1)


def corners(maps):
    return F.interpolate(maps, images().shape[2:], mode="bilinear", align_corners=True)


def centres(maps):
    return F.interpolate(maps, images().shape[2:], mode="bilinear", align_corners=False)


def test_difference_pytorch_grad_cam_score_cam_aligns_corners_and_weighs_constant_maps():
    """Theirs: masks resized with aligned corners, and the black image's score as a constant map's weight."""
    net = small()
    theirs = of_pytorch_grad_cam("ScoreCAM", net)
    resized = [torch.from_numpy(np.stack([_resized(m) for m in scaled(score_cam(net, corners, constant=True))]))]
    same(scaled(resized[0]), theirs, 1e-3)
    ours_ = ours("ScoreCAM", net)
    same(ours_, centres(score_cam(net, centres, constant=False)[:, None])[:, 0])
    assert difference(scaled(ours_), theirs) > 0.02


def _resized(map_):
    import cv2

    return cv2.resize(map_.numpy(), tuple(images().shape[2:]))


def test_difference_torchcam_score_cam_resizes_scaled_maps():
    """Theirs: masks are scaled to [0, 1] before they are resized, and a constant map's weight is the black image's."""
    net, rows = small(), torch.arange(len(images()))
    maps = maps_of(net)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    masks = centres((maps - low) / (high - low + 1e-8))
    with torch.no_grad():
        scores = torch.stack([net(images() * masks[:, k : k + 1])[rows, target()] for k in range(8)], 1)
    theirs = of_torchcam("ScoreCAM", net)
    same(theirs, (scores.softmax(1)[:, :, None, None] * maps).sum(1))
    assert difference(ours("ScoreCAM", net), centres(theirs[:, None])[:, 0]) > 0.02


@pytest.mark.filterwarnings("ignore:XGradCAM divides")
def test_difference_x_grad_cam_of_maps_that_cancel():
    """Theirs: Σ A g / (ΣA + 1e-7) explodes where a signed map cancels; ours gives it no weight."""
    net = network()
    maps = maps_of(net, 3)
    with torch.no_grad():
        net[3].bias -= maps[0].mean((1, 2))  # each map of the first image now sums to about 0
    found = ours("XGradCAM", net, 3, relu=False)[0]
    theirs = of_torchcam("XGradCAM", net, 3)[0]
    assert float(found.abs().max()) == 0
    assert float(theirs.max()) > 1e2


def test_no_oracle_grad_cam_plus_plus():
    """Both add an epsilon to a quotient of g² and g³, which are smaller than it at the gradients of real networks."""
    net = network()
    with torch.no_grad():
        net[6].weight *= 1e-4
    for theirs in (of_torchcam("GradCAMpp", net), of_pytorch_grad_cam("GradCAMPlusPlus", net)):
        assert difference(scaled(ours("GradCAMPlusPlus", net)), scaled(theirs)) > 0.02


def test_no_oracle_smooth_grad_cam_plus_plus():
    """torchcam rectifies the gradient of the last noisy sample alone: new noise there changes the whole weight."""
    method = tc.SmoothGradCAMpp(bent := _bent(), bent[4], num_samples=3, std=1.0)
    with method:
        bent(images().requires_grad_())
        draws = [torch.randn_like(images()) for _ in range(3)]
        first, second = (_with_noise(method, noise) for noise in (draws, draws[::-1]))
    assert difference(first, second) > 1e-3  # the same three samples in another order


class _Given:
    """Stands in for the distribution that noise is drawn from."""

    def __init__(self, draws):
        self._draws = iter(draws)

    def sample(self, size):
        return next(self._draws)


def _with_noise(method, draws):
    method._distrib = _Given(draws)
    return method(target().tolist(), None, normalized=False)[0].detach()


def _bent():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        net = network()
        return nn.Sequential(*net[:6], nn.Linear(net[6].in_features, 8), nn.Tanh(), nn.Linear(8, 4)).eval()
