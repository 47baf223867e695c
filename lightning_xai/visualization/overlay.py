"""Heat drawn over an image that stays visible."""

from __future__ import annotations

import difflib
from functools import cache

import torch
from torch import Tensor

from lightning_xai.visualization.display import ChannelValues, displayed
from lightning_xai.visualization.intensity import Scale, intensity

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_OPACITY_EXPONENT = 0.7
_TRIMMED = {"turbo": 0.88, "jet": 0.88}  # the strongest heat is a bright red, not the dark one at their end
_PALEST, _DEEPEST = 0.25, 0.45  # of a diverging colormap: opacity already fades towards 0, pale colours would glow


def overlay(
    images: Tensor,
    heatmaps: Tensor,
    *,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
    alpha: float = 0.8,
    colormap: str = "turbo",
    diverging: str = "RdBu_r",
    scale: Scale = "image",
) -> Tensor:
    """Draw heatmaps over their images: gray where there is no heat, coloured and more opaque the more there is.

    Args:
        images: Any real dtype, shape (N, C, H, W); how their range is read stands at :func:`displayed`.
        heatmaps: Floating point, shape (N, H, W), any range; how they are scaled stands at :func:`intensity`.
        mean: What was subtracted when the images were normalised.
        std: What the images were divided by when they were normalised.
        alpha: Opacity of the strongest heat, in [0, 1].
        colormap: Name of the matplotlib colormap of maps without negative values; of turbo and jet the dark red end is
            not used.
        diverging: Name of the matplotlib colormap of signed maps, one half for each sign.
        scale: ``"image"``, ``"shared"`` or the value drawn as the strongest heat.

    Returns:
        uint8, shape (N, H, W, 3), on the CPU.

    Raises:
        ValueError: If shapes do not match, ``alpha`` lies outside [0, 1] or a colormap is unknown.

    Example:
        >>> import torch
        >>> image, heatmap = torch.full((1, 3, 1, 2), 0.5), torch.tensor([[[0.0, 1.0]]])
        >>> overlay(image, heatmap, colormap="Reds", alpha=1.0)
        tensor([[[[128, 128, 128],
                  [103,   0,  13]]]], dtype=torch.uint8)

    """
    check_maps(images, heatmaps, "heatmaps")
    return painted(displayed(images, mean, std), intensity(heatmaps, scale), alpha, colormap, diverging)


def check_maps(images: Tensor, maps: Tensor, name: str) -> None:
    """Refuse maps that are not (N, H, W) for images (N, C, H, W); the error calls them ``name``."""
    expected = (images.shape[0], *images.shape[2:])
    if images.ndim != 4 or tuple(maps.shape) != expected:
        raise ValueError(
            f"Expected `{name}` to have shape (N, H, W) to match `images` (N, C, H, W), "
            f"but got {tuple(maps.shape)} for images {tuple(images.shape)}."
        )


def painted(
    pictures: Tensor, heat: Tensor, alpha: float = 0.8, colormap: str = "turbo", diverging: str = "RdBu_r"
) -> Tensor:
    """Blend intensities in [-1, 1], shape (N, H, W), over uint8 ``pictures``, shape (N, H, W, 3)."""
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"Expected `alpha` to lie in [0, 1], but got {alpha}.")
    strength = heat.abs()
    if bool((heat < 0).any()):
        side = _PALEST + (_DEEPEST - _PALEST) * strength
        color = _looked_up(diverging, torch.where(heat < 0, 0.5 - side, 0.5 + side))
    else:
        color = _looked_up(colormap, _TRIMMED.get(colormap, 1.0) * heat)
    opacity = (alpha * strength.pow(_OPACITY_EXPONENT)).unsqueeze(-1)
    gray = (pictures.float() * torch.tensor(_LUMINANCE)).sum(dim=-1, keepdim=True)
    return (gray + opacity * (color - gray)).round().clamp(0, 255).to(torch.uint8)


def _looked_up(colormap: str, position: Tensor) -> Tensor:
    colors = colors_of(colormap)
    return colors[(position * (len(colors) - 1)).round().long()]


@cache
def colors_of(colormap: str) -> Tensor:
    """Look up the colours of a matplotlib colormap: float32, shape (256, 3), in [0, 255]."""
    from matplotlib import colormaps

    if colormap not in colormaps:
        nearest = difflib.get_close_matches(colormap, list(colormaps), n=1)
        hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
        raise ValueError(f'Expected `colormap` to be the name of a matplotlib colormap, but got "{colormap}".{hint}')
    return torch.tensor([colormaps[colormap](index)[:3] for index in torch.linspace(0, 1, 256).tolist()]) * 255.0
