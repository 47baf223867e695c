"""Images and heatmaps as pictures: uint8 (N, H, W, 3), gray where there is no heat, coloured where there is."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.visualization.channels import MOST_COLOURS, Channels

ChannelValues = float | Sequence[float]
Scale = Literal["image", "shared"] | float

_DARKEST_BATCH = 16.0  # below it values are not taken for 0-255: they are more likely rectified or scaled otherwise
_MIDDLE_GRAY = 0.5
_NOISE = 1e-6  # of the largest magnitude: what float32 resizing leaves of a constant map, or below zero
_SATURATED = 0.005  # fraction of the pixels that may be drawn as the strongest
_SMALLEST_END = 0.25  # of the maximum: saturation never starts below
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_OPACITY_EXPONENT = 0.7
_DARKENED = 0.45  # share of an image's brightness below its heat: more heat is lighter whatever the image
_USED = {"inferno": (0.6, 1.0), "turbo": (0.0, 0.88), "jet": (0.0, 0.88)}  # from no heat, lighter than images, to most
_WEAK_SIDE, _STRONG_SIDE = 0.36, 0.25  # of a diverging colormap, from its middle: saturated, and lighter with heat


def as_pictures(images: Tensor, mean: ChannelValues | None = None, std: ChannelValues | None = None) -> Tensor:
    """Turn a batch of model inputs into pictures that can be looked at.

    With ``mean`` and ``std`` the normalisation is undone, ``images * std + mean``, and the result is read as [0, 1], or
    as 0-255 where ``mean`` or ``std`` is above 1. Without them the batch as a whole decides: values inside [0, 1] are
    kept; uint8, and values inside [0, 255] that reach 16, are read as 0-255; anything else is stretched image by image
    from its minimum to its maximum (a constant image becomes middle gray). Values that are not finite take no part in
    these decisions and are drawn black.

    One channel is drawn gray, two as the gray of their mean. Of more than three the first three are drawn, each
    stretched from its 2 % to its 98 % quantile over the batch, whatever ``mean`` and ``std``.

    Args:
        images: Any real dtype, shape (N, C, H, W), any device.
        mean: What was subtracted when the images were normalised: one number, or one per channel.
        std: What they were divided by: one number, or one per channel. Needs ``mean``, as ``mean`` needs ``std``.

    Returns:
        uint8, shape (N, H, W, 3), on the CPU.

    Raises:
        ValueError: If ``images`` has no four dimensions or no channel, if ``mean`` or ``std`` comes without the other,
            or if their length is not the number of channels.

    Example:
        >>> as_pictures(torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1))
        tensor([[[[  0, 128, 255]]]], dtype=torch.uint8)
        >>> as_pictures(torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2), mean=0.5, std=0.5)[..., 0]
        tensor([[[  0, 255]]], dtype=torch.uint8)
    """
    if images.ndim != 4 or images.shape[1] == 0:
        raise ValueError(
            f"Expected `images` to have shape (N, C, H, W) with at least one channel, but got {tuple(images.shape)}."
        )
    if (mean is None) != (std is None):
        present, missing = ("std", "mean") if mean is None else ("mean", "std")
        raise ValueError(f"Expected `mean` and `std` together, but got `{present}` alone; give `{missing}` as well.")
    unit = _in_unit_range(images.detach().cpu(), mean, std)
    unit = torch.where(torch.isfinite(unit), unit, 0.0).clamp(0.0, 1.0)
    return (_three_channels(unit) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def in_one_batch(images: Tensor | Sequence[Tensor]) -> Tensor:
    """Return images (C, H, W), which may differ in size, as one batch with NaN beyond the edges of smaller ones."""
    if isinstance(images, Tensor):
        return images
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    unit = [image.float() / 255.0 if image.dtype == torch.uint8 else image.float() for image in images]
    fitted = [F.pad(one, (0, width - one.shape[2], 0, height - one.shape[1]), value=torch.nan) for one in unit]
    return torch.stack(fitted)


def intensity(heatmaps: Tensor, scale: Scale = "image", *, signed: bool | None = None) -> Tensor:
    """Scale heatmaps to what is drawn: 0 is no heat, 1 the strongest, and -1 the strongest against.

    Maps without negative values run from their minimum (0) to their strongest pixels (1). If any value of the batch is
    negative the whole batch is signed and divided by the strongest magnitude, so that 0 stays 0. The strongest half
    percent of the pixels, as far as they reach a quarter of the maximum, are all drawn as 1: a few outliers of a pixel
    method do not hide the others, and maps of fewer than 200 pixels run to their maximum exactly.

    A map whose values are all equal says nothing about its image and becomes 0 everywhere, never 1. So does a value
    that is not finite.

    Args:
        heatmaps: Floating point, shape (N, H, W), any range.
        scale: ``"image"`` takes both ends from each map, ``"shared"`` from all maps of the batch; a number is the value
            drawn as 1, with 0 drawn as 0, and makes pictures of several epochs comparable.
        signed: Whether the batch is signed; decided by its values if None.

    Returns:
        float32, shape (N, H, W), in [0, 1], or in [-1, 1] for a signed batch, on the CPU.

    Raises:
        ValueError: If ``heatmaps`` has no three dimensions or ``scale`` is neither of the names nor a positive number.

    Example:
        >>> intensity(torch.tensor([[[0.0, 2.0, 4.0]], [[3.0, 3.0, 3.0]]])).tolist()
        [[[0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    if heatmaps.ndim != 3:
        raise ValueError(f"Expected `heatmaps` to have shape (N, H, W), but got {tuple(heatmaps.shape)}.")
    if scale not in {"image", "shared"} and not (isinstance(scale, int | float) and scale > 0):
        raise ValueError(f'Expected `scale` to be "image", "shared" or a positive number, but got {scale!r}.')
    maps = heatmaps.detach().cpu().float()
    drawable = _drawable(maps)
    signed = _is_signed(torch.where(drawable, maps, 0.0)) if signed is None else signed
    zero = torch.zeros(len(maps), 1, 1) if signed or not isinstance(scale, str) else _lowest(maps, drawable, scale)
    above_zero = torch.where(drawable, maps - zero, 0.0)
    heat = above_zero / _strongest(above_zero.abs(), scale)
    return torch.where(torch.isfinite(heat), heat, 0.0).clamp(-1.0 if signed else 0.0, 1.0)


def overlay(
    images: Tensor,
    heatmaps: Tensor,
    *,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
    alpha: float = 0.8,
    colormap: str = "inferno",
    diverging: str = "coolwarm",
    scale: Scale = "image",
) -> Tensor:
    """Draw heatmaps over their images: dark gray where there is no heat, coloured and lighter the more there is.

    With the default colours more heat is lighter on every image (CIELAB), so that colour-blind readers and gray prints
    tell strong from weak; warm and cold sides of signed maps are equally light.

    Args:
        images: Any real dtype, shape (N, C, H, W); how their range is read stands at :func:`as_pictures`.
        heatmaps: Floating point, shape (N, H, W), any range; how they are scaled stands at :func:`intensity`.
        mean: What was subtracted when the images were normalised.
        std: What the images were divided by when they were normalised.
        alpha: Opacity of the strongest heat, in [0, 1].
        colormap: Name of the matplotlib colormap of maps without negative values; of inferno the dark end is not used,
            of turbo and jet the dark red one.
        diverging: Name of the matplotlib colormap of signed maps, one half for each sign.
        scale: ``"image"``, ``"shared"`` or the value drawn as the strongest heat.

    Returns:
        uint8, shape (N, H, W, 3), on the CPU.

    Raises:
        ValueError: If shapes do not match, ``alpha`` lies outside [0, 1] or a colormap is unknown.

    Example:
        >>> image, heatmap = torch.full((1, 3, 1, 2), 0.5), torch.tensor([[[0.0, 1.0]]])
        >>> overlay(image, heatmap, colormap="Reds", alpha=1.0).tolist()
        [[[[58, 58, 58], [103, 0, 13]]]]
    """
    check_shape_of_maps(images, heatmaps, "heatmaps")
    return with_heat(as_pictures(images, mean, std), intensity(heatmaps, scale), alpha, colormap, diverging)


def check_shape_of_maps(images: Tensor, maps: Tensor, name: str) -> None:
    """Refuse maps that are not (N, H, W) for images (N, C, H, W); the error calls them ``name``."""
    expected = (images.shape[0], *images.shape[2:])
    if images.ndim != 4 or tuple(maps.shape) != expected:
        raise ValueError(
            f"Expected `{name}` to have shape (N, H, W) to match `images` (N, C, H, W), "
            f"but got {tuple(maps.shape)} for images {tuple(images.shape)}."
        )


def with_heat(
    pictures: Tensor,
    heat: Tensor,
    alpha: float = 0.8,
    colormap: str = "inferno",
    diverging: str = "coolwarm",
    *,
    signed: bool | None = None,
) -> Tensor:
    """Blend intensities in [-1, 1], shape (N, H, W), over uint8 ``pictures``, shape (N, H, W, 3).

    Whether the diverging colours are used is decided by the sign of the values, unless ``signed`` says it.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"Expected `alpha` to lie in [0, 1], but got {alpha}.")
    strength = heat.abs()
    if bool((heat < 0).any()) if signed is None else signed:
        side = _WEAK_SIDE + (_STRONG_SIDE - _WEAK_SIDE) * strength
        color = _looked_up(diverging, torch.where(heat < 0, 0.5 - side, 0.5 + side))
    else:
        weakest, strongest = _USED.get(colormap, (0.0, 1.0))
        color = _looked_up(colormap, weakest + (strongest - weakest) * heat)
    opacity = (alpha * strength.pow(_OPACITY_EXPONENT)).unsqueeze(-1)
    gray = _DARKENED * (pictures.float() * torch.tensor(_LUMINANCE)).sum(dim=-1, keepdim=True)
    return (gray + opacity * (color - gray)).round().clamp(0, 255).to(torch.uint8)


def said_where_blank(heatmaps: Tensor, heat: Tensor) -> list[str]:
    """Say of each map (N, H, W) of which `intensity` leaves nothing why: an empty text where there is something."""
    words = []
    for values, intensities in zip(heatmaps.detach().cpu(), heat, strict=True):
        if bool((intensities != 0).any()):
            words.append("")
        elif not bool(torch.isfinite(values).all()):
            words.append("not finite")
        else:
            words.append("constant" if bool((values != 0).any()) else "no heat")
    return words


def _in_unit_range(images: Tensor, mean: ChannelValues | None, std: ChannelValues | None) -> Tensor:
    num_channels = images.shape[1]
    if mean is None or std is None:
        return Channels().stretched(images) if num_channels > MOST_COLOURS else _recognised(images)
    offset, factor = _per_channel("mean", mean, num_channels), _per_channel("std", std, num_channels)
    if num_channels > MOST_COLOURS:  # stretching undoes any normalisation
        return Channels().stretched(images)
    full = 255.0 if max(float(offset.max()), float(factor.max())) > 1.0 else 1.0
    return (images.float() * factor + offset) / full


def _per_channel(name: str, values: ChannelValues, channels: int) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32).flatten()
    if tensor.numel() not in {1, channels}:
        raise ValueError(
            f"Expected `{name}` to hold one value or one for each of the {channels} channels of `images`, "
            f"but got {tensor.numel()} values."
        )
    return tensor.reshape(1, -1, 1, 1)


def _recognised(images: Tensor) -> Tensor:
    values = images.float()
    if images.dtype == torch.uint8:
        return values / 255.0
    finite = values[torch.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    if low >= 0.0 and high <= 1.0:
        return values
    if low >= 0.0 and _DARKEST_BATCH <= high <= 255.0:
        return values / 255.0
    return _stretched(values)


def _stretched(images: Tensor) -> Tensor:
    finite, low, high = _finite_range(images)
    span = high - low
    stretched = torch.where(span > 0, (images - low) / span, _MIDDLE_GRAY)
    return torch.where(finite, stretched, torch.nan)


def _finite_range(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give where values (N, ...) are finite, and the lowest and highest such value of each of the N, (N, 1, ...)."""
    finite, own_dims = torch.isfinite(values), tuple(range(1, values.ndim))
    low = torch.where(finite, values, torch.inf).amin(dim=own_dims, keepdim=True)
    high = torch.where(finite, values, -torch.inf).amax(dim=own_dims, keepdim=True)
    return finite, low, high


def _three_channels(images: Tensor) -> Tensor:
    if images.shape[1] < MOST_COLOURS:
        return images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return images


def _drawable(maps: Tensor) -> Tensor:
    """Select the finite values of maps that are not constant: bool (N, H, W)."""
    finite, low, high = _finite_range(maps)
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


def _looked_up(colormap: str, position: Tensor) -> Tensor:
    colors = _colors_of(colormap)
    return colors[(position * (len(colors) - 1)).round().long()]


@cache
def _colors_of(colormap: str) -> Tensor:
    """Look up the colours of a matplotlib colormap: float32, shape (256, 3), in [0, 255]."""
    from matplotlib import colormaps

    if colormap not in colormaps:
        nearest = difflib.get_close_matches(colormap, list(colormaps), n=1)
        hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
        raise ValueError(f'Expected `colormap` to be the name of a matplotlib colormap, but got "{colormap}".{hint}')
    return torch.tensor([colormaps[colormap](index)[:3] for index in torch.linspace(0, 1, 256).tolist()]) * 255.0
