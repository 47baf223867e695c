from __future__ import annotations

import hashlib
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from lightning_xai import (
    LIME,
    Case,
    DeepLift,
    IntegratedGradients,
    Occlusion,
    ScoreCAM,
)
from lightning_xai._randomness import content_keys
from lightning_xai.evidence import MaskingCurve, baseline_images, gaussian_blur
from lightning_xai.metrics import Completeness, DeletionAUC, InsertionDeletion
from tests.metrics._harness import Batch, EvaluationCount, tiny_net


def _published_kernel():
    """Return RISE's gkern(11, 5)."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    return gaussian_filter(impulse, 5)


def test_blur_is_the_published_kernel():
    impulse = torch.zeros(1, 2, 21, 25, dtype=torch.float64)
    impulse[0, 1, 10, 12] = 1.0
    blurred = gaussian_blur(impulse)
    np.testing.assert_allclose(blurred[0, 1, 5:16, 7:18].numpy(), _published_kernel(), rtol=1e-12, atol=0)
    assert blurred.sum().item() == pytest.approx(1.0, abs=1e-9)
    assert blurred[0, 0].abs().sum() == 0.0  # channels do not mix


def test_the_kernel_is_a_gaussian_whose_tails_are_mirrored_at_the_edges():
    line = np.zeros(11)
    for offset in range(-20, 21):
        place = (5 + offset) % 22
        line[place if place < 11 else 21 - place] += math.exp(-0.5 * (offset / 5.0) ** 2)
    impulse = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    impulse[0, 0, 5, 5] = 1.0
    found = gaussian_blur(impulse)[0, 0].numpy()
    np.testing.assert_allclose(found, np.outer(line, line)[::-1, ::-1] / line.sum() ** 2, rtol=1e-12)


def test_blur_equals_the_published_convolution_zero_padded():
    images = torch.randn(2, 3, 17, 14)
    kernel = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        kernel[channel, channel] = torch.from_numpy(_published_kernel())
    expected = torch.nn.functional.conv2d(images, kernel, padding=5)
    torch.testing.assert_close(gaussian_blur(images), expected, rtol=1e-5, atol=1e-6)


def _replaced(images, baseline, seed=0):
    return baseline_images(images, baseline, content_keys(images), seed=seed).expand_as(images)


def test_constants_and_statistics_are_each_images_own():
    images = torch.randn(3, 2, 4, 5)
    assert (_replaced(images, 0.25) == 0.25).all()
    for image, low, mean in zip(images, _replaced(images, "minimum"), _replaced(images, "mean"), strict=True):
        assert (low == image.min()).all()
        torch.testing.assert_close(mean, image.mean((1, 2), keepdim=True).expand_as(image))


def test_noise_covers_each_images_own_range_and_belongs_to_it():
    images = torch.randn(3, 2, 30, 30) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1, 1) + 2.0
    noise = _replaced(images, "uniform")
    for image, found in zip(images, noise, strict=True):
        span = image.max() - image.min()
        assert image.min() <= found.min() < image.min() + 0.01 * span
        assert image.max() - 0.01 * span < found.max() <= image.max()
    assert torch.equal(_replaced(images[[2]], "uniform")[0], noise[2])
    assert not torch.equal(_replaced(images, "uniform", seed=1), noise)


def test_noise_is_independent_of_the_order_of_ties_and_of_the_random_control():
    from lightning_xai import RandomHeatmap
    from lightning_xai.evidence import ranks

    images = torch.rand(4, 1, 40, 40)
    noise = _replaced(images, "uniform").flatten(1)
    ties = ranks(torch.zeros(4, 1600), content_keys(images)).float()
    control = RandomHeatmap(grid=None)(torch.nn.Flatten(), images, 0).flatten(1)
    for i in range(4):
        assert (
            np.abs(np.corrcoef(torch.stack([noise[i], ties[i], control[i]]).numpy())[np.triu_indices(3, 1)]).max()
            < 0.11
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("baseline", [0.5, "blur", "minimum", "mean", "uniform"])
def test_keeps_the_images_dtype(baseline, dtype):
    images = torch.rand(1, 3, 12, 12).to(dtype)
    assert baseline_images(images, baseline, content_keys(images)).dtype == dtype


@pytest.mark.parametrize(
    ("baseline", "error"),
    [
        (math.nan, ValueError),
        (math.inf, ValueError),
        ((), ValueError),
        ((0.0, math.nan, 0.0), ValueError),
        (torch.tensor([0.0, math.inf]), ValueError),
        (torch.zeros(2, 3), ValueError),
        (torch.zeros(1, 3, 4, 4), ValueError),
        (torch.zeros(0), ValueError),
        (True, TypeError),
        (None, TypeError),
        ((0.0, "blur"), TypeError),
        ({0: 1.0}, TypeError),
    ],
    ids=str,
)
def test_baseline_is_checked(baseline, error):
    text = (
        "Expected `baseline` to be a finite number, one of blur, minimum, mean, uniform, one number per channel, a Te"
    )
    for kind in (
        MaskingCurve,
        Occlusion,
        DeepLift,
        InsertionDeletion,
        Completeness,
        IntegratedGradients,
        LIME,
        ScoreCAM,
    ):
        with pytest.raises(error, match=text):
            kind(baseline=baseline)


def test_a_misspelt_baseline_gets_the_nearest_match():
    with pytest.raises(ValueError, match=r"but got 'blurr'\. Did you mean 'blur'\?"):
        MaskingCurve(baseline="blurr")


class Square:
    """A function of images that is an object."""

    def __call__(self, images):
        return images**2


def half(images):
    return images / 2


BLACK = (-2.1, -2.0, -1.8)


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (BLACK, lambda images: np.broadcast_to(np.array(BLACK)[None, :, None, None], images.shape)),
        (list(BLACK), lambda images: np.broadcast_to(np.array(BLACK)[None, :, None, None], images.shape)),
        (torch.tensor(BLACK), lambda images: np.broadcast_to(np.array(BLACK)[None, :, None, None], images.shape)),
        (torch.tensor(BLACK).view(3, 1, 1), lambda images: 0 * images + np.array(BLACK)[:, None, None]),
        (torch.tensor(0.25), lambda images: np.full_like(images, 0.25)),
        (torch.linspace(0, 1, 60).view(3, 4, 5), lambda images: 0 * images + np.linspace(0, 1, 60).reshape(3, 4, 5)),
        (half, lambda images: images / 2),
        (Square(), lambda images: images**2),
        (
            lambda images: images.amax((1, 2, 3), keepdim=True),
            lambda images: 0 * images + images.max((1, 2, 3), keepdims=True),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_baseline_can_be(baseline, expected):
    images = torch.rand(2, 3, 4, 5)
    np.testing.assert_allclose(_replaced(images, baseline).numpy(), expected(images.double().numpy()), rtol=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ([0.1, 0.2, 0.3], (0.1, 0.2, 0.3), True),
        (torch.tensor([-2.1, 0.1, 1.0]), (-2.1, 0.1, 1.0), True),
        (torch.tensor(0.1), 0.1, True),
        (torch.tensor([0.5, 0.25, 1.0]).view(3, 1, 1), [0.5, 0.25, 1.0], True),
        (torch.ones(3, 9, 11), torch.ones(3, 9, 11), True),
        (torch.ones(3, 9, 11), torch.ones(3, 9, 11).bfloat16(), True),
        (torch.ones(3, 9, 11), torch.ones(3, 9, 11).tril(), False),
        (torch.ones(3, 9, 11), 2 * torch.ones(3, 9, 11), False),
        (half, half, True),
        (half, lambda images: images / 2, False),
        (0, 0.0, True),
        ("mean", "blur", False),
    ],
)
def test_equal_baselines_are_collected_once(one, other, equal):
    curves = [DeletionAUC(4, baseline).curve for baseline in (one, other)]
    assert len(set(curves)) == (1 if equal else 2)
    batch, net = Batch.draw(2), tiny_net()
    count = EvaluationCount(net)
    case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps)
    areas = [DeletionAUC(4, baseline).score(case) for baseline in (one, other)]
    assert count.images == 2 * (4 + 1 + (0 if equal else 4))
    assert torch.equal(*areas) is equal or one is half


def test_settings_of_a_baseline_are_plain_and_the_same_in_every_process():
    image = torch.linspace(0, 1, 12).view(3, 2, 2)
    shown = {
        DeletionAUC(4, [0.1, 0.2, 0.3]): "(0.1, 0.2, 0.3)",
        Occlusion(baseline=torch.tensor([0.5, 0.25])): "(0.5, 0.25)",
        InsertionDeletion(baseline="mean", insertion_baseline=half): "'mean'",
        IntegratedGradients(baseline=half): f"{__name__}.half",
        DeepLift(image): "Tensor(3, 2, 2) #"
        + hashlib.sha256(b"(3, 2, 2)" + image.double().numpy().tobytes()).hexdigest()[:8],
    }
    for configured, text in shown.items():
        assert f"baseline={text}" in repr(configured)
        assert configured.settings()["baseline"] == (eval(text) if text[0] in "('" else text)
    assert repr(DeepLift(image)) != repr(DeepLift(image + 1))
    again = pickle.loads(pickle.dumps(DeletionAUC(4, image)))
    assert again.curve == DeletionAUC(4, image).curve


@pytest.mark.parametrize(
    ("baseline", "error", "text"),
    [
        (
            (0.1, 0.2),
            ValueError,
            r"images of shape \(1, 3, 4, 5\): 3 numbers, one per channel, or an image \(3, 4, 5\), but got 2 numbers",
        ),
        (torch.ones(3, 5, 4), ValueError, r"or an image \(3, 4, 5\), but got \(3, 5, 4\)\."),
        (torch.ones(1, 4, 5), ValueError, r"or an image \(3, 4, 5\), but got \(1, 4, 5\)\."),
        (
            lambda images: images[:, :, :2],
            ValueError,
            r"to return images of shape \(1, 3, 4, 5\), but got \(1, 3, 2, 5\)",
        ),
        (lambda images: images[0], ValueError, r"to return images of shape \(1, 3, 4, 5\), but got \(3, 4, 5\)"),
        (lambda images: images * math.inf, ValueError, "to return finite images, but got NaN or infinity"),
        (lambda _: 0.0, TypeError, r"to return a Tensor \(1, 3, 4, 5\), but got float"),
    ],
)
def test_a_baseline_that_does_not_fit_the_images(baseline, error, text):
    for use in (Occlusion(baseline=baseline), IntegratedGradients(4, baseline), ScoreCAM("0", baseline=baseline)):
        with pytest.raises(error, match=text):
            use(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), torch.rand(1, 3, 4, 5), 0)


def test_a_function_is_given_images_of_its_own():
    def spoil(images):
        return images.zero_()

    images = torch.rand(1, 3, 4, 5)
    before = images.clone()
    Occlusion(2, baseline=spoil)(nn.Flatten(), images, 0)
    assert torch.equal(images, before)
