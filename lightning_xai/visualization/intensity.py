"""Heatmaps in any unit, as intensities that a colour can stand for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Scale = Literal["image", "shared"] | float

_NOISE = 1e-6  # of the largest magnitude: what float32 resizing leaves of a constant map, or below zero
_SATURATED = 0.005  # share of the pixels that may be drawn as the strongest
_SMALLEST_END = 0.25  # of the maximum: saturation never starts below


def intensity(heatmaps: Tensor, scale: Scale = "image") -> Tensor:
    """Scale heatmaps to what is drawn: 0 is no heat, 1 the strongest, and -1 the strongest against.

    Maps without negative values run from their minimum (0) to their strongest pixels (1). If any value of the batch is
    negative the whole batch is signed and divided by the strongest magnitude, so that 0 stays 0. The strongest half
    percent of the pixels, as far as they reach a quarter of the maximum, are all drawn as 1: a few outliers of a pixel
    method do not hide the rest, and maps of fewer than 200 pixels run to their maximum exactly.

    A map whose values are all equal says nothing about its image and becomes 0 everywhere, never 1. So does a value
    that is not finite.

    Args:
        heatmaps: Floating point, shape (N, H, W), any range.
        scale: ``"image"`` takes both ends from each map, ``"shared"`` from all maps of the batch; a number is the value
            drawn as 1, with 0 drawn as 0, and makes pictures of several epochs comparable.

    Returns:
        float32, shape (N, H, W), in [0, 1], or in [-1, 1] for a signed batch, on the CPU.

    Raises:
        ValueError: If ``heatmaps`` has no three dimensions or ``scale`` is neither of the names nor a positive number.

    Example:
        >>> import torch
        >>> intensity(torch.tensor([[[0.0, 2.0, 4.0]], [[3.0, 3.0, 3.0]]]))
        tensor([[[0.0000, 0.5000, 1.0000]],
        <BLANKLINE>
                [[0.0000, 0.0000, 0.0000]]])

    """
    if heatmaps.ndim != 3:
        raise ValueError(f"Expected `heatmaps` to have shape (N, H, W), but got {tuple(heatmaps.shape)}.")
    if scale not in {"image", "shared"} and not (isinstance(scale, int | float) and scale > 0):
        raise ValueError(f'Expected `scale` to be "image", "shared" or a positive number, but got {scale!r}.')
    maps = heatmaps.detach().cpu().float()
    drawable = _drawable(maps)
    signed = _is_signed(torch.where(drawable, maps, 0.0))
    zero = torch.zeros(len(maps), 1, 1) if signed or not isinstance(scale, str) else _lowest(maps, drawable, scale)
    above_zero = torch.where(drawable, maps - zero, 0.0)
    heat = above_zero / _strongest(above_zero.abs(), scale)
    return torch.where(torch.isfinite(heat), heat, 0.0).clamp(-1.0 if signed else 0.0, 1.0)


def _drawable(maps: Tensor) -> Tensor:
    """Select the finite values of maps that are not constant: bool (N, H, W)."""
    finite = torch.isfinite(maps)
    low = torch.where(finite, maps, torch.inf).amin(dim=(1, 2), keepdim=True)
    high = torch.where(finite, maps, -torch.inf).amax(dim=(1, 2), keepdim=True)
    return finite & (high - low > _NOISE * torch.maximum(high.abs(), low.abs()))


def _is_signed(values: Tensor) -> bool:
    return values.numel() > 0 and float(values.min()) < -_NOISE * float(values.abs().max())


def _lowest(maps: Tensor, drawable: Tensor, scale: Scale) -> Tensor:
    """Give the value drawn as 0 in maps without negative values: (N, 1, 1), or (1, 1, 1) where it is shared."""
    lowest = torch.where(drawable, maps, torch.inf).amin(dim=(1, 2), keepdim=True)
    return lowest.amin(dim=0, keepdim=True) if scale == "shared" else lowest


def _strongest(magnitudes: Tensor, scale: Scale) -> Tensor:
    """Give how far above the value drawn as 0 the one drawn as 1 lies: (N, 1, 1), or (1, 1, 1) where it is shared."""
    if not isinstance(scale, str):
        return torch.full((1, 1, 1), float(scale))
    pixels = magnitudes.flatten(1)
    rank = pixels.shape[1] - int(_SATURATED * pixels.shape[1])
    strongest = torch.maximum(pixels.kthvalue(rank, dim=1).values, _SMALLEST_END * pixels.amax(dim=1))
    return (strongest.amax(dim=0, keepdim=True) if scale == "shared" else strongest)[:, None, None]
