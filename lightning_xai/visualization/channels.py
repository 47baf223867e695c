"""Channels of images that are no photographs, chosen and stretched so that there is something to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_COLOURS = 3
"""Images with more channels are no photographs."""

_FIRST_THREE = (0, 1, 2)
_LOWEST, _HIGHEST = 0.02, 0.98  # quantiles drawn black and bright: a few dead or glaring pixels hide nothing
_ENOUGH = 1_000_000  # values of a channel; of more, evenly spaced ones are taken
_MIDDLE_GRAY = 0.5


@dataclass(frozen=True)
class Channels:
    """One channel drawn gray, or three as red, green and blue.

    Args:
        numbers: From 0; the first three if None.

    Raises:
        TypeError: If ``numbers`` is neither a whole number nor a sequence of such.
        ValueError: If there are not one or three of them, or one is negative.

    Example:
        >>> Channels((3, 2, 1)).described(num_channels=13)
        'channels 3, 2, 1 of 13, stretched from 2 % to 98 %'
    """

    numbers: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        given = self.chosen
        if any(isinstance(one, bool) or not isinstance(one, int) for one in given):
            raise TypeError(f"Expected `channels` to be a whole number or three of them, but got {self.numbers!r}.")
        if len(given) not in {1, 3} or min(given) < 0:
            raise ValueError(
                f"Expected `channels` to be one channel or three (red, green, blue), from 0, but got {self.numbers!r}."
            )

    @property
    def chosen(self) -> tuple[int, ...]:
        """One number or three."""
        if self.numbers is None:
            return _FIRST_THREE
        return tuple(self.numbers) if isinstance(self.numbers, Sequence) else (self.numbers,)

    def of(self, images: Tensor) -> Tensor:
        """Return the chosen channels of images: (..., C, H, W) to (..., 1 or 3, H, W).

        Raises:
            ValueError: If the images have no such channel.
        """
        num_channels = images.shape[-3]
        if max(self.chosen) >= num_channels:
            raise ValueError(
                f"Expected `channels` to be numbers below {num_channels}, as many as the images have, "
                f"but got {self.numbers!r}."
            )
        return images.index_select(-3, torch.tensor(self.chosen, device=images.device))

    def limits(self, images: Iterable[Tensor]) -> Tensor:
        """Return the 2 % and the 98 % quantile of each chosen channel over images (C, H, W) of any size: (2, 1 or 3).

        Values that are not finite take no part; without any other the limits are 0.
        """
        pixels = torch.cat([self.of(image.detach().cpu()).float().flatten(1) for image in images], 1)
        limits = []
        for values in pixels:
            ordered = values[torch.isfinite(values)][:: 1 + values.numel() // _ENOUGH].sort().values
            last = len(ordered) - 1
            ends = [ordered[round(quantile * last)] for quantile in (_LOWEST, _HIGHEST)] if last >= 0 else [0.0, 0.0]
            limits.append(torch.tensor(ends))
        return torch.stack(limits, 1)

    def stretched(self, images: Tensor, limits: Tensor | None = None) -> Tensor:
        """Return the chosen channels of images (N, C, H, W), each brought from its limits to [0, 1].

        Args:
            images: Any real dtype.
            limits: Of `limits`, such as those of all images of a run; of these images if None.

        Returns:
            float32 (N, 1 or 3, H, W) on the CPU; 0 where a value is not finite, 0.5 where a channel is constant.
        """
        low, high = (self.limits(images) if limits is None else limits)[:, None, :, None, None]
        values = self.of(images.detach().cpu()).float()
        unit = torch.where(high > low, (values - low) / (high - low), _MIDDLE_GRAY).clamp(0.0, 1.0)
        return torch.where(torch.isfinite(values), unit, 0.0)

    def described(self, num_channels: int) -> str:
        """Say which channels are drawn, and how."""
        names = ", ".join(map(str, self.chosen))
        word = "channel" if len(self.chosen) == 1 else "channels"
        return f"{word} {names} of {num_channels}, stretched from {_LOWEST:.0%} to {_HIGHEST:.0%}".replace("%", " %")
