"""Heatmaps (Figure 19) and images enhanced by them (Figure 20), as pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_xai.comparison.records import Records
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.explainers.cam.grad_cam import GradCAM
from lightning_xai.explainers.cam.hires_cam import HiResCAM
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.hirescam.explained import explained_images
from lightning_xai.visualization.pictures import as_pictures, overlay

_ENHANCED = MaskedImage("enhanced", value_range=(-1.0, 1.0), normalize="minmax")
KINDS = ("image", "Grad-CAM", "HiResCAM", "HA image, Grad-CAM", "HA image, HiResCAM")


def pictures(context: AnalysisContext, part: str, networks: Sequence[str], num_images: int = 2) -> Records:
    """Return images, heatmaps over them and enhanced images of some networks, each as a PNG in Base64.

    Args:
        context: Of the analysis.
        part: Whose images, with values in [-1, 1].
        networks: Names; of all that are trained if empty.
        num_images: Of each network.
    """
    rows = []
    for one in explained_images(context, part, num_images, {"Grad-CAM": GradCAM(), "HiResCAM": HiResCAM()}):
        if networks and one.network not in networks:
            continue
        cases = list(one.cases.values())
        images = cases[0].images.cpu()
        enhanced = [_ENHANCED.apply(case.images, case.heatmaps).cpu() for case in cases]
        shown = [_pictures(images), *(_heat(images, case.heatmaps.cpu()) for case in cases), *map(_pictures, enhanced)]
        for place, name in enumerate(one.ids):
            rows += [
                (one.network, name, kind, _png(of_kind[place])) for kind, of_kind in zip(KINDS, shown, strict=True)
            ]
    return Records(("network", "image", "kind", "png"), tuple(rows))


def _pictures(images: Tensor) -> Tensor:
    return as_pictures(images, mean=0.5, std=0.5)


def _heat(images: Tensor, heatmaps: Tensor) -> Tensor:
    return overlay(images, heatmaps, mean=0.5, std=0.5)


def _png(picture: Tensor) -> str:
    """Return a picture, uint8 (H, W, 3), as a PNG in Base64."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture.numpy()).save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode()


def read_picture(text: str) -> Tensor:
    """Return a picture, uint8 (H, W, 3), from a PNG in Base64."""
    from PIL import Image

    opened = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    return torch.frombuffer(bytearray(opened.tobytes()), dtype=torch.uint8).view(opened.height, opened.width, 3)
