"""Random numbers that belong to an image: the same alone, in any batch, chunk, rank, epoch and on any device.

A counter-based generator: every value is a hash of (seed, sample, key of the image, position), computed with wrapping
64-bit integers, so nothing is drawn from, or left in, a global generator.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)
_KEY_BITS = (1 << 62) - 1
_MAX_VALUES = 4096
_BLOCK = 1 << 17  # values that a CPU hashes at a time: they stay in its cache, which makes it five times as fast


def content_keys(images: Tensor) -> Tensor:
    """Return a 62-bit key of each image's content.

    A multilinear hash of the float32 bits of at most 4,096 evenly spaced values, mixed at the end; exact integer
    arithmetic, so equal images have equal keys in any batch and on any device.

    Args:
        images: Floating point, shape (N, C, H, W) or (N, ...).

    Returns:
        int64, shape (N,), in [0, 2**62).
    """
    flat = images.detach().flatten(1)
    size = flat.shape[1]
    count = min(size, _MAX_VALUES)
    index = torch.arange(count, device=flat.device) * size // count
    bits = flat.index_select(1, index).float().contiguous().view(torch.int32).long()
    bits = bits ^ (bits >> 16) ^ (bits >> 23)
    weights = _mix(torch.arange(1, count + 1, device=flat.device) * _GOLDEN) | 1
    return _mix((bits * weights).sum(1) ^ _wrapped(size * _GOLDEN)) & _KEY_BITS


def joined_keys(keys: Tensor, others: Tensor) -> Tensor:
    """Return a 62-bit key of each pair of keys, int64 (N,), that depends on their order."""
    return _mix(_mix(keys + _GOLDEN) ^ others) & _KEY_BITS


def uniform(keys: Tensor, size: tuple[int, ...], *, seed: int, sample: int | Tensor = 0, purpose: str = "") -> Tensor:
    """Return values U[0, 1) for each key.

    Args:
        keys: int64, shape (N,); zeros for noise that is shared by all images.
        size: Shape of what is drawn per image.
        seed: Any whole number.
        sample: Index of the draw, or one index per image as int64 of shape (N,).
        purpose: What the numbers are for; different purposes get independent numbers from one seed.

    Returns:
        float32, shape (N, *size), 24 random bits each.
    """
    return _drawn(lambda hashes: _fraction(hashes >> 40), keys, size, seed, sample, purpose)


def normal(keys: Tensor, size: tuple[int, ...], *, seed: int, sample: int | Tensor = 0, purpose: str = "") -> Tensor:
    """Return values N(0, 1) for each key (Box-Muller), float32 of shape (N, *size); see `uniform`."""

    def box_muller(hashes: Tensor) -> Tensor:
        radius = torch.sqrt(-2.0 * torch.log(1.0 - _fraction(hashes >> 40)))
        return radius * torch.cos(2.0 * math.pi * _fraction(hashes >> 8))

    return _drawn(box_muller, keys, size, seed, sample, purpose)


def random_bits(keys: Tensor, size: tuple[int, ...], *, seed: int, purpose: str = "") -> Tensor:
    """Return 31 random bits for each key and position, int64 of shape (N, *size); see `uniform`."""
    return _drawn(lambda hashes: (hashes >> 33).bitwise_and_(0x7FFFFFFF), keys, size, seed, 0, purpose)


def _drawn(
    read: Callable[[Tensor], Tensor],
    keys: Tensor,
    size: tuple[int, ...],
    seed: int,
    sample: int | Tensor,
    purpose: str = "",
) -> Tensor:
    """Return what ``read`` makes of the hash (int64) of each key and position, (N, *size)."""
    draw = torch.as_tensor(sample, dtype=torch.int64, device=keys.device)
    stream = _mix(keys ^ _mix(draw * _GOLDEN + _wrapped(seed + (zlib.crc32(purpose.encode()) << 32))))
    position = torch.arange(1, math.prod(size) + 1, device=keys.device) * _GOLDEN
    rows = _BLOCK // max(len(position), 1) if keys.device.type == "cpu" else len(keys)
    parts = [read(_mix(part[:, None] + position)) for part in torch.split(stream, max(rows, 1))]
    return torch.cat(parts).view(len(keys), *size)


def _mix(values: Tensor) -> Tensor:
    """Apply the splitmix64 finaliser to int64 ``values`` in place; `>>` is arithmetic, so sign bits are masked off."""
    values.bitwise_xor_((values >> 30).bitwise_and_(0x3FFFFFFFF)).mul_(_FIRST)
    values.bitwise_xor_((values >> 27).bitwise_and_(0x1FFFFFFFFF)).mul_(_SECOND)
    return values.bitwise_xor_((values >> 31).bitwise_and_(0x1FFFFFFFF))


def _fraction(bits: Tensor) -> Tensor:
    """Return the lowest 24 of ``bits``, which are overwritten, as float32 in [0, 1)."""
    return bits.bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def _wrapped(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
