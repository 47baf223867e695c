"""A network with ImageNet weights, and photographs: what packages bring along, so that nothing is downloaded."""

from __future__ import annotations

import torch

from benchmarks.setting import Setting
from benchmarks.trained import Trained
from lightning_xai.datasets import SamplePhotographs
from lightning_xai.studies.networks import efficientnet_lite0

PHOTOGRAPHS = "photographs, ImageNet weights"
SIDE = 128
_NAMES = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle", "china", "flower")


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
