"""What takes the place of removed pixels."""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._checks import check_choice
from lightning_xai._randomness import uniform

Baseline: TypeAlias = float | Literal["blur", "minimum", "mean", "uniform"]
_NAMED = ("blur", "minimum", "mean", "uniform")
_BLUR_SIZE, _BLUR_SIGMA = 11, 5.0


def check_baseline(baseline: object) -> None:
    """Raise ValueError unless ``baseline`` is a finite number or a known name."""
    if isinstance(baseline, str):
        check_choice(baseline, _NAMED, "baseline")
    elif isinstance(baseline, bool) or not isinstance(baseline, (int, float)) or not math.isfinite(baseline):
        raise ValueError(
            f"Expected `baseline` to be a finite number or one of {', '.join(_NAMED)}, but got {baseline!r}."
        )


def baseline_images(images: Tensor, baseline: Baseline, keys: Tensor, *, seed: int = 0) -> Tensor:
    """Return what ``images`` are replaced by, broadcastable to (N, C, H, W), in the units the model sees.

    Args:
        images: (N, C, H, W).
        baseline: A number for every value; ``"blur"`` (`gaussian_blur`); ``"minimum"``, each image's smallest value;
            ``"mean"``, each image's mean per channel; ``"uniform"``, noise over each image's own range.
        keys: Content keys (N,) of the images, to which the noise belongs.
        seed: Of the noise.
    """
    if baseline == "blur":
        return gaussian_blur(images)
    if baseline == "mean":
        return images.mean((2, 3), keepdim=True)
    low = images.amin((1, 2, 3), keepdim=True)
    if baseline == "minimum":
        return low
    if baseline == "uniform":
        noise = uniform(keys, tuple(images.shape[1:]), seed=seed, purpose="baseline").to(images.dtype)
        return low + noise * (images.amax((1, 2, 3), keepdim=True) - low)
    return torch.full((1, 1, 1, 1), float(baseline), dtype=images.dtype, device=images.device)


def gaussian_blur(images: Tensor) -> Tensor:
    """Return images blurred with the 11×11 Gaussian (σ = 5) of the published insertion protocol, zero-padded.

    The protocol's kernel is a Gaussian filter of a unit impulse on an 11×11 grid whose tails are folded back at the
    edges, so it is flatter than a cut-off Gaussian.
    """
    line = torch.tensor(_gaussian_line(), dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    rows = line.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = line.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    pad = _BLUR_SIZE // 2
    blurred = F.conv2d(images, rows, padding=(pad, 0), groups=channels)
    return F.conv2d(blurred, columns, padding=(0, pad), groups=channels)


@cache
def _gaussian_line() -> tuple[float, ...]:
    """Return one axis of the kernel."""
    from scipy.ndimage import gaussian_filter1d

    impulse = [0.0] * _BLUR_SIZE
    impulse[_BLUR_SIZE // 2] = 1.0
    return tuple(gaussian_filter1d(impulse, _BLUR_SIGMA, mode="reflect").tolist())
