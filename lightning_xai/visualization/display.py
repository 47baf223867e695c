"""Images of any range and any number of channels, as pictures that can be shown."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_DARKEST_BATCH = 16.0  # below it values are not taken for 0-255: they are more likely rectified or scaled otherwise
_MIDDLE_GRAY = 0.5

ChannelValues = float | Sequence[float]


def displayed(images: Tensor, mean: ChannelValues | None = None, std: ChannelValues | None = None) -> Tensor:
    """Turn a batch of model inputs into pictures that can be looked at.

    With ``mean`` and ``std`` the normalisation is undone, ``images * std + mean``, and the result is read as [0, 1], or
    as 0-255 where ``mean`` or ``std`` is above 1. Without them the batch as a whole decides: values inside [0, 1] are
    kept; uint8, and values inside [0, 255] that reach 16, are read as 0-255; anything else is stretched image by image
    from its minimum to its maximum (a constant image becomes middle gray). Values that are not finite take no part in
    these decisions and are shown black.

    One channel is shown gray, two as the gray of their mean, and of more than three the first three.

    Args:
        images: Any real dtype, shape (N, C, H, W), any device.
        mean: What was subtracted when the images were normalised: one number, or one per channel.
        std: What they were divided by: one number, or one per channel. Needs ``mean``, as ``mean`` needs ``std``.

    Returns:
        uint8, shape (N, H, W, 3), on the CPU.

    Raises:
        ValueError: If ``images`` has no four dimensions or no channel, if only one of ``mean`` and ``std`` is given, or
            if their length is not the number of channels.

    Example:
        >>> import torch
        >>> displayed(torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1))
        tensor([[[[  0, 128, 255]]]], dtype=torch.uint8)
        >>> displayed(torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2), mean=0.5, std=0.5)[..., 0]
        tensor([[[  0, 255]]], dtype=torch.uint8)

    """
    if images.ndim != 4 or images.shape[1] == 0:
        raise ValueError(
            f"Expected `images` to have shape (N, C, H, W) with at least one channel, but got {tuple(images.shape)}."
        )
    if (mean is None) != (std is None):
        absent, given = ("mean", "std") if mean is None else ("std", "mean")
        raise ValueError(f"Expected `mean` and `std` together, but got `{given}` alone; give `{absent}` as well.")
    values = images.detach().cpu()
    unit = _in_unit_range(values) if mean is None or std is None else _undone(values.float(), mean, std)
    unit = torch.where(torch.isfinite(unit), unit, 0.0).clamp(0.0, 1.0)
    return (_three_channels(unit) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _undone(images: Tensor, mean: ChannelValues, std: ChannelValues) -> Tensor:
    channels = images.shape[1]
    offset, factor = _per_channel("mean", mean, channels), _per_channel("std", std, channels)
    full = 255.0 if max(float(offset.max()), float(factor.max())) > 1.0 else 1.0
    return (images * factor + offset) / full


def _per_channel(name: str, values: ChannelValues, channels: int) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32).flatten()
    if tensor.numel() not in {1, channels}:
        raise ValueError(
            f"Expected `{name}` to hold one value or one for each of the {channels} channels of `images`, "
            f"but got {tensor.numel()} values."
        )
    return tensor.reshape(1, -1, 1, 1)


def _in_unit_range(images: Tensor) -> Tensor:
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
    finite = torch.isfinite(images)
    low = torch.where(finite, images, torch.inf).amin(dim=(1, 2, 3), keepdim=True)
    high = torch.where(finite, images, -torch.inf).amax(dim=(1, 2, 3), keepdim=True)
    span = high - low
    stretched = torch.where(span > 0, (images - low) / span, _MIDDLE_GRAY)
    return torch.where(finite, stretched, torch.nan)


def _three_channels(images: Tensor) -> Tensor:
    if images.shape[1] < 3:
        return images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return images[:, :3]
