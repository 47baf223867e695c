"""What takes the place of hidden or removed pixels, and what a path from nothing to an image starts from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NoReturn, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._checks import check_choice, shape
from lightning_xai._randomness import uniform

Baseline: TypeAlias = (
    float | Literal["blur", "minimum", "mean", "uniform"] | Sequence[float] | Tensor | Callable[[Tensor], Tensor]
)
_NAMED = ("blur", "minimum", "mean", "uniform")
_BLUR_SIZE, _BLUR_SIGMA = 11, 5.0
_BLURRED_TOGETHER = 8  # images: as many as fit a cache; a batch of 128 takes 2.7 times as long and much memory
_WANTED = (
    f"Expected `baseline` to be a finite number, one of {', '.join(_NAMED)}, one number per channel, a Tensor of shape "
    "(C,) or (C, H, W), or a function of images (N, C, H, W)"
)


@dataclass(frozen=True)
class BaselineImage:
    """An image (C, H, W) that equals others of the same values, so that what is computed with it can be shared.

    Attributes:
        values: The image.
        key: Of shape and values.
    """

    values: Tensor = field(compare=False)
    key: str

    @classmethod
    def of(cls, values: Tensor) -> BaselineImage:
        """Return the image with its key."""
        numbers = values.detach().cpu().double().contiguous().numpy()  # double: numpy knows no bfloat16
        content = repr(numbers.shape).encode() + numbers.tobytes()
        return cls(values.detach().clone(), hashlib.sha256(content).hexdigest())

    def __repr__(self) -> str:
        """Return shape and key, short."""
        return f"Tensor{shape(self.values)} #{self.key[:8]}"


AnyBaseline: TypeAlias = Baseline | BaselineImage


def checked_baseline(baseline: AnyBaseline) -> AnyBaseline:
    """Return ``baseline`` in a form that is hashable, and equal where baselines are equal.

    Lists and tensors of one number per channel, (C,) or (C, 1, 1), become tuples, an image becomes a `BaselineImage`,
    a function stays what it is, equal to itself alone.

    Raises:
        TypeError: If it is none of what `baseline_images` takes.
        ValueError: If a name is unknown, a number is not finite, or a tensor has another shape.
    """
    if isinstance(baseline, str):
        check_choice(baseline, _NAMED, "baseline")
        return baseline
    if isinstance(baseline, Tensor):
        return _checked_tensor(baseline)
    if isinstance(baseline, (list, tuple)):
        return tuple(_checked_number(value, baseline) for value in baseline) if baseline else _refuse(baseline)
    if isinstance(baseline, BaselineImage) or callable(baseline):
        return baseline
    return _checked_number(baseline, baseline)


def baseline_images(images: Tensor, baseline: AnyBaseline, keys: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Return what ``images`` are replaced by, broadcastable to (N, C, H, W), in the units that the model sees.

    In these units 0 is black only if images reach the model in [0, 1]; where they are normalised first, it is the mean
    colour of the data, a mid-grey, and black is ``[-mean / std]``, one number per channel.

    Args:
        images: (N, C, H, W).
        baseline: A number for every value; one number per channel, as a sequence or a tensor (C,); an image (C, H, W);
            ``"blur"`` (`gaussian_blur`); ``"minimum"``, each image's smallest value; ``"mean"``, each image's mean per
            channel; ``"uniform"``, noise over each image's own range; or a function of ``images`` that returns as many,
            each made from its own image.
        keys: Content keys (N,) of the images, to which the noise belongs; None for noise that all images share.
        seed: Of the noise.

    Raises:
        TypeError: If it is nothing of the kind, or a function returns no tensor.
        ValueError: If it does not fit the images, or a function returns something else than finite images.
    """
    baseline = checked_baseline(baseline)
    if isinstance(baseline, str):
        return _named(images, baseline, keys, seed)
    if isinstance(baseline, tuple):
        values = torch.tensor(baseline, dtype=images.dtype, device=images.device)[None, :, None, None]
    elif isinstance(baseline, BaselineImage):
        values = baseline.values.to(images)[None]
    elif callable(baseline):
        return _returned(images, baseline)
    else:
        return torch.full((1, 1, 1, 1), float(baseline), dtype=images.dtype, device=images.device)  # type: ignore[arg-type]
    if values.shape[1] != images.shape[1] or values.shape[2:] not in {images.shape[2:], (1, 1)}:
        found = f"{len(baseline)} numbers" if isinstance(baseline, tuple) else shape(baseline.values)
        raise ValueError(
            f"Expected `baseline` to match images of shape {shape(images)}: {images.shape[1]} numbers, one per "
            f"channel, or an image {shape(images[0])}, but got {found}."
        )
    return values


def _named(images: Tensor, name: str, keys: Tensor | None, seed: int) -> Tensor:
    if name == "blur":
        return gaussian_blur(images)
    if name == "mean":
        return images.mean((2, 3), keepdim=True)
    low = images.amin((1, 2, 3), keepdim=True)
    if name == "minimum":
        return low
    keys = torch.zeros(1, dtype=torch.int64, device=images.device) if keys is None else keys
    noise = uniform(keys, tuple(images.shape[1:]), seed=seed, purpose="baseline").to(images.dtype)
    return low + noise * (images.amax((1, 2, 3), keepdim=True) - low)


def _returned(images: Tensor, function: Callable[[Tensor], object]) -> Tensor:
    with torch.no_grad():
        found = function(images.detach().clone())
    if not isinstance(found, Tensor):
        raise TypeError(f"Expected `baseline` to return a Tensor {shape(images)}, but got {type(found).__name__}.")
    expandable = found.ndim == 4 and all(a in {1, b} for a, b in zip(found.shape, images.shape, strict=True))
    if not expandable:
        raise ValueError(f"Expected `baseline` to return images of shape {shape(images)}, but got {shape(found)}.")
    if not bool(found.isfinite().all()):
        raise ValueError("Expected `baseline` to return finite images, but got NaN or infinity.")
    return found.detach().to(images)


def _checked_tensor(values: Tensor) -> AnyBaseline:
    if not bool(values.isfinite().all()):
        raise ValueError(f"{_WANTED}, but got a Tensor with NaN or infinity.")
    if values.ndim == 0:
        return _as_written(values)[0]
    if values.numel() and (values.ndim == 1 or (values.ndim == 3 and values.shape[1:] == (1, 1))):
        return tuple(_as_written(values))
    if values.ndim != 3 or not values.numel():
        raise ValueError(f"{_WANTED}, but got a Tensor of shape {shape(values)}.")
    return BaselineImage.of(values)


def _as_written(values: Tensor) -> list[float]:
    """Return the numbers of a tensor as their shortest decimals: -2.1 in float32 is the -2.1 of a list."""
    numbers = values.detach().cpu().flatten()
    if numbers.dtype == torch.float64:
        return numbers.tolist()
    return [float(str(number)) for number in numbers.float().numpy()]


def _checked_number(value: object, baseline: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{_WANTED}, but got {baseline!r}.")
    return value if math.isfinite(value) else _refuse(baseline)


def _refuse(baseline: object) -> NoReturn:
    raise ValueError(f"{_WANTED}, but got {baseline!r}.")


def gaussian_blur(images: Tensor) -> Tensor:
    """Return images blurred with the 11×11 Gaussian (σ = 5) of the published insertion protocol, zero-padded.

    The protocol's kernel is a Gaussian filter of a unit impulse on an 11×11 grid whose tails are folded back at the
    edges, so it is flatter than a cut-off Gaussian.
    """
    line = torch.tensor(_gaussian_line(), dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    rows = line.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = line.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    pad, blurred = _BLUR_SIZE // 2, torch.empty_like(images)
    for start in range(0, len(images), _BLURRED_TOGETHER):
        some = slice(start, start + _BLURRED_TOGETHER)
        upright = F.conv2d(images[some], rows, padding=(pad, 0), groups=channels)
        blurred[some] = F.conv2d(upright, columns, padding=(0, pad), groups=channels)
    return blurred


@cache
def _gaussian_line() -> tuple[float, ...]:
    """Return one axis of the kernel."""
    from scipy.ndimage import gaussian_filter1d

    impulse = [0.0] * _BLUR_SIZE
    impulse[_BLUR_SIZE // 2] = 1.0
    return tuple(gaussian_filter1d(impulse, _BLUR_SIGMA, mode="reflect").tolist())
