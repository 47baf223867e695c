"""What the base class promises for every subclass, and what it says when something does not fit."""

import zlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import Classifier, Explainer, FakeCAM, GradCAM
from tests._nets import ConvNet

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Showing(Explainer):
    """Returns what it was given."""

    def __init__(self, maps):
        self.maps = maps
        self.given = []

    def explain(self, classifier, images, target):
        self.given.append((classifier, images, target))
        return self.maps if isinstance(self.maps, torch.Tensor) else self.maps(images)


def test_maps_are_resized_bilinearly_to_the_images_and_detached():
    maps = torch.rand(3, 2, 4, requires_grad=True)
    heatmaps = Showing(maps.double())(nn.Flatten(), IMAGES, target=0)
    assert torch.equal(heatmaps, F.interpolate(maps[:, None], (8, 8), mode="bilinear", align_corners=False)[:, 0])
    assert heatmaps.dtype == torch.float32
    assert not heatmaps.requires_grad


def test_maps_of_the_images_size_are_not_resized():
    maps = torch.rand(3, 8, 8)
    assert torch.equal(Showing(maps)(nn.Flatten(), IMAGES, target=0), maps)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 8])
def test_explain_sees_at_most_a_chunk(chunk_size):
    explainer = Showing(lambda images: images[:, 0])
    target = torch.tensor([0, 1, 2])
    classifier = Classifier(nn.Flatten(), chunk_size=chunk_size)
    assert torch.equal(explainer(classifier, IMAGES, target), IMAGES[:, 0])
    assert [len(images) for _, images, _ in explainer.given] == [chunk_size] * (3 // chunk_size) + [3 % chunk_size] * (
        3 % chunk_size > 0
    )
    assert torch.equal(torch.cat([t for _, _, t in explainer.given]), target)
    assert all(c is classifier for c, _, _ in explainer.given)


def test_explain_gets_plain_tensors_whatever_the_caller_s_are():
    explainer = Showing(lambda images: images[:, 0])
    with torch.inference_mode():
        explainer(nn.Flatten(), IMAGES.clone(), torch.tensor([0, 1, 2]))
    explainer(nn.Flatten(), IMAGES.clone().requires_grad_(), 1)
    for _, images, target in explainer.given:
        assert not images.requires_grad
        assert not images.is_inference()
        assert not target.is_inference()
        assert target.dtype == torch.int64


@pytest.mark.parametrize("size", [(2, 8, 8), (3, 1, 8, 8), (3, 8), (0, 8, 8)])
def test_a_subclass_that_returns_another_shape_is_named(size):
    with pytest.raises(ValueError, match=r"Expected `Showing.explain` to return maps of shape \(3, h, w\), but got \("):
        Showing(torch.zeros(size))(nn.Flatten(), IMAGES, target=0)


def test_maps_that_are_not_finite_are_said_by_image():
    maps = torch.zeros(3, 8, 8)
    maps[1, 2, 3] = torch.nan
    message = r"Expected `heatmaps of Showing` to be finite, but 1 of 3 contain NaN or infinity \(index 1\)"
    with pytest.raises(ValueError, match=message):
        Showing(maps)(nn.Flatten(), IMAGES, target=0)
    images = IMAGES.clone()
    images[2] = torch.nan
    with pytest.raises(ValueError, match=r"`heatmaps of GradCAM` to be finite, but 1 of 3 .* \(index 2\)"):
        GradCAM()(ConvNet(), images, target=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (lambda x: x, IMAGES, 0),
            TypeError,
            r"Expected `model` to be a torch\.nn\.Module or a Classifier, .*function",
        ),
        ((nn.Flatten(), IMAGES[0], 0), ValueError, r"Expected `images` to have shape \(N, C, H, W\)"),
        ((nn.Flatten(), IMAGES.byte(), 0), TypeError, "Expected `images` to be floating point"),
        ((nn.Flatten(), IMAGES, 0.5), TypeError, "Expected `target` to hold class indices"),
        ((nn.Flatten(), IMAGES, torch.tensor([0])), ValueError, r"Expected `target` to have shape \(3,\)"),
        ((nn.Flatten(), IMAGES, -1), ValueError, "Expected `target` to hold class indices from 0, but got -1"),
    ],
)
def test_arguments_that_do_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        FakeCAM()(*arguments)


def test_settings_are_the_arguments_of_the_constructor():
    explainer = Showing(torch.zeros(3, 8, 8))
    assert list(explainer.settings()) == ["maps"]
    assert repr(explainer) == f"Showing(maps=Tensor(3, 8, 8) #{zlib.crc32(bytes(4 * 3 * 8 * 8)):08x})"


def test_what_compares_with_no_references_is_the_same_with_them():
    explainer = GradCAM()
    assert not explainer.needs_references
    assert explainer.with_references(IMAGES) is explainer


class Product(Explainer):
    """The logits, and a matrix product of its own, whose digits bfloat16 does not have."""

    def explain(self, classifier, images, target):
        self.logits = classifier.logits(images)
        return images[:, 0] @ images[:, 1]


def test_the_user_s_autocast_is_for_the_model_only():
    net, explainer = ConvNet(), Product()
    exact, plain = explainer(net, IMAGES, 0), explainer.logits
    with torch.autocast("cpu", torch.bfloat16):
        expected = Classifier(net).logits(IMAGES)
        classifier = Classifier(net)
        assert torch.equal(explainer(classifier, IMAGES, 0), exact)
        assert torch.is_autocast_enabled("cpu")
        assert torch.equal(classifier.logits(IMAGES), expected)
    assert torch.equal(explainer.logits, expected)
    assert not torch.equal(plain, expected)
