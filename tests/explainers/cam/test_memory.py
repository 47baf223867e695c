"""Peak memory does not grow with the number of samples, masks or channels."""

import pytest
import torch
from torch import nn

from benchmarks.live_bytes import peak_bytes
from lightning_xai import (
    AblationCAM,
    Classifier,
    ExpectedGradCAM,
    IntegratedGradCAM,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
)
from tests._nets import ConvNet, calibrated

CPU = torch.device("cpu")


def peak(explainer, net, images, chunk_size=2):
    classifier = Classifier(net, chunk_size=chunk_size)
    explainer(classifier, images, 1)
    return peak_bytes(lambda: explainer(classifier, images, 1), CPU)


@pytest.mark.parametrize(
    "build",
    [
        lambda count: SmoothGradCAMPlusPlus(num_samples=count),
        lambda count: IntegratedGradCAM(num_steps=count),
        lambda count: ExpectedGradCAM(references=torch.rand(40, 3, 32, 32), num_samples=count),
    ],
    ids=["smooth", "integrated", "expected"],
)
def test_samples(build):
    net, images = calibrated(ConvNet(), size=32), torch.randn(4, 3, 32, 32)
    few, many = (peak(build(count), net, images) for count in (6, 24))
    assert many <= 1.02 * few + 1024  # a few bytes per draw


def wide(channels, side, stride):
    """Many feature maps that are small beside the image."""
    return nn.Sequential(
        nn.Conv2d(3, channels, stride, stride=stride), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)
    )


def test_masks():
    images = torch.randn(1, 3, 64, 64)
    few, many = (peak(ScoreCAM("0"), wide(channels, 64, 32), images) for channels in (16, 256))
    assert many <= 1.1 * few + 50 * 256  # the maps and scores themselves


def test_channels():
    images = torch.randn(2, 3, 64, 64)
    few, many = (peak(AblationCAM("0"), wide(channels, 64, 8), images) for channels in (512, 1024))
    assert few > 2**26  # 64 MiB of copies at a time in both
    assert many <= 1.1 * few
