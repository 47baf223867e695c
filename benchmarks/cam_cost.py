"""A heatmap of the CAM family beside one plain forward pass of the same images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.peers import PEERS, last_features
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import get_explainer

OURS = ("grad_cam", "grad_cam_plus_plus", "hires_cam", "xgrad_cam", "layer_cam", "cam")
LIMIT = 1.1


def run(setting: Setting) -> Result:
    """Measure our methods, then Grad-CAM of other packages where these are installed."""
    result = Result("CAM explainers / plain no_grad forward of the same batch", f"ours at most {LIMIT}x")
    for name in setting.names:
        count = setting.size(cpu=8 if name == "ResNet-50" else 16, gpu=64, quick=2)
        images, target = setting.images(count), setting.target(count)
        model = setting.model(name)
        repeats = setting.size(cpu=5 if name == "ResNet-50" else 15, gpu=30, quick=1)
        for alias in OURS:
            found = compare(_ours(alias, model, images, target), _plain(model, images), repeats, setting.device)
            result.add(model=name, images=count, method=alias, **ratios(found, setting.limit(LIMIT)))
        for peer, build in PEERS.items():
            method = build(model, last_features(model), images, target)
            if method is not None:
                found = compare(method, _plain(model, images), repeats, setting.device)
                result.add(model=name, images=count, method=peer, **ratios(found))
    return result


def _plain(model: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        with torch.no_grad():
            return model(images)

    return forward


def _ours(alias: str, model: nn.Module, images: Tensor, target: Tensor) -> Callable[[], Tensor]:
    explainer = get_explainer(alias)
    return lambda: explainer(model, images, target)
