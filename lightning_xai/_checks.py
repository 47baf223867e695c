"""Checks of arguments, so that every layer says what it expected in the same words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import TypeVar

import torch
from torch import Tensor
from typing_extensions import ParamSpec

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_LONGEST_NAME = 100


def check_images(images: object, name: str = "images") -> Tensor:
    """Return ``images`` if it is a floating-point batch (N, C, H, W).

    Raises:
        TypeError: If it is no floating-point tensor.
        ValueError: If it is empty or not four-dimensional.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"Expected `{name}` to be a Tensor of shape (N, C, H, W), but got {type(images).__name__}.")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"Expected `{name}` to have shape (N, C, H, W) without empty axes, but got {shape(images)}.")
    if not images.is_floating_point():
        raise TypeError(
            f"Expected `{name}` to be floating point, as the model sees them, but got {images.dtype}. "
            "Apply the model's own preprocessing first."
        )
    return images


def check_target(target: object, images: Tensor) -> Tensor:
    """Return ``target`` as int64 (N,) on the device of ``images``; an int stands for the whole batch.

    Raises:
        TypeError: If it holds no integers.
        ValueError: If its shape does not match ``images`` or a class is negative.
    """
    if isinstance(target, int) and not isinstance(target, bool):
        target = torch.full((len(images),), target, device=images.device)
    if (
        not isinstance(target, Tensor)
        or target.is_floating_point()
        or target.is_complex()
        or target.dtype == torch.bool
    ):
        found = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"Expected `target` to hold class indices (an integer Tensor of shape (N,)), but got {found}.")
    if target.shape != images.shape[:1]:
        raise ValueError(
            f"Expected `target` to have shape ({len(images)},), one class per image, but got {shape(target)}."
        )
    check_device(target, images, "target")
    if target.numel() and int(target.min()) < 0:
        raise ValueError(f"Expected `target` to hold class indices from 0, but got {int(target.min())}.")
    return target.long()


def check_maps(maps: object, images: Tensor | None, name: str) -> Tensor:
    """Return ``maps`` if it is (N, H, W), matches ``images`` (or heatmaps) where given, and is finite.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If its shape or device does not match, or a value is not finite.
    """
    if not isinstance(maps, Tensor):
        raise TypeError(f"Expected `{name}` to be a Tensor of shape (N, H, W), but got {type(maps).__name__}.")
    expected = None if images is None else (images.shape[0], *images.shape[-2:])
    if maps.ndim != 3 or 0 in maps.shape or (expected is not None and tuple(maps.shape) != expected):
        matched = "heatmaps" if images is not None and images.ndim == 3 else "images"
        wanted = "(N, H, W)" if expected is None else f"{expected} to match `{matched}`"
        raise ValueError(f"Expected `{name}` to have shape {wanted}, but got {shape(maps)}.")
    if images is not None:
        check_device(maps, images, name)
    if maps.is_floating_point():
        check_finite(maps, name)
    return maps


def check_previous_heatmaps(maps: object, anchor: Tensor | None) -> Tensor:
    """Return earlier heatmaps (N, h, w) of any size; NaN stands for none.

    Args:
        maps: Floating point (N, h, w).
        anchor: A tensor with the batch's first axis and device; None if there is none.

    Raises:
        TypeError: If it is no floating-point tensor.
        ValueError: If its shape or device does not match.
    """
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        kind = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise TypeError(f"Expected `previous_heatmaps` to be a floating-point Tensor (N, h, w), but got {kind}.")
    if maps.ndim != 3 or 0 in maps.shape or (anchor is not None and len(maps) != len(anchor)):
        num_images = "N" if anchor is None else len(anchor)
        raise ValueError(f"Expected `previous_heatmaps` to have shape ({num_images}, h, w), but got {shape(maps)}.")
    if anchor is not None:
        check_device(maps, anchor, "previous_heatmaps")
    return maps.detach()


def check_other_heatmaps(maps: object, anchor: Tensor | None) -> dict[str, Tensor]:
    """Return other explainers' heatmaps by name, float32 (N, H, W).

    Args:
        maps: Mapping of names to floating point (N, H, W).
        anchor: Images (N, C, H, W) or heatmaps (N, H, W) that they must match.

    Raises:
        TypeError: If it is no mapping of tensors.
        ValueError: If it is empty, a shape or device does not match, or a value is not finite.
    """
    if not isinstance(maps, Mapping):
        raise TypeError(f"Expected `other_heatmaps` to map names to heatmaps, but got {type(maps).__name__}.")
    if not maps:
        raise ValueError(
            "Expected `other_heatmaps` to hold the heatmaps of at least one other explainer, but got none."
        )
    return {name: check_maps(m, anchor, f"other_heatmaps[{name!r}]").detach().float() for name, m in maps.items()}


def check_finite(maps: Tensor, name: str) -> None:
    """Raise ValueError that names the images of ``maps`` (N, ...) which hold NaN or infinity."""
    if bool(maps.sum().isfinite()):  # the usual case, thirty times as fast
        return
    finite = maps.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        bad = (~finite).nonzero().flatten().tolist()
        listed = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
        raise ValueError(
            f"Expected `{name}` to be finite, but {len(bad)} of {len(maps)} contain NaN or infinity (index {listed})."
        )


def check_device(tensor: Tensor, images: Tensor, name: str) -> None:
    """Raise ValueError if ``tensor`` is on another device than ``images``."""
    if tensor.device != images.device:
        raise ValueError(f"Expected `{name}` on {images.device} like `images`, but got {tensor.device}.")


def check_choice(value: object, choices: Sequence[object], name: str) -> None:
    """Raise ValueError that lists ``choices`` and names the nearest one if ``value`` is none of them."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"Expected `{name}` to be one of {listed}, but got {value!r}.{nearest(value, choices)}")


def nearest(value: object, choices: Sequence[object], cutoff: float = 0.5) -> str:
    """Return the question whether the nearest of ``choices`` was meant, after a space; nothing if none is near."""
    by_lower = {str(choice).lower(): choice for choice in choices}
    near = get_close_matches(str(value).lower(), by_lower, n=1, cutoff=cutoff)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def what_came(value: object) -> str:
    """Return what stands where an object was expected: its type, and of a class how to make one.

    Example:
        >>> what_came(3), what_came(dict)
        ('int', 'the class dict: pass an object, dict()')
    """
    return (
        f"the class {value.__name__}: pass an object, {value.__name__}()"
        if isinstance(value, type)
        else type(value).__name__
    )


def check_at_least(value: float, least: float, name: str, *, strict: bool = False) -> None:
    """Raise TypeError or ValueError unless ``value`` is a number ≥ ``least`` (> if ``strict``)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Expected `{name}` to be a number, but got {type(value).__name__}.")
    if not (value > least if strict else value >= least):
        raise ValueError(f"Expected `{name}` to be {'>' if strict else '>='} {least}, but got {value}.")


def check_value_range(value_range: object) -> tuple[float, float]:
    """Return ``value_range`` as (low, high) of finite numbers with low < high.

    Raises:
        TypeError: If it is no pair of numbers.
        ValueError: If it is not finite, or low is not below high.
    """
    if not isinstance(value_range, (list, tuple)) or not all(
        isinstance(end, (int, float)) and not isinstance(end, bool) for end in value_range
    ):
        raise TypeError(f"Expected `value_range` as (low, high), two numbers, but got {value_range!r}.")
    if len(value_range) != 2 or not -math.inf < value_range[0] < value_range[1] < math.inf:
        raise ValueError(f"Expected `value_range` as (low, high) with low < high, but got {value_range}.")
    return float(value_range[0]), float(value_range[1])


def check_count(value: int, name: str, *, least: float = 1) -> None:
    """Raise TypeError or ValueError unless ``value`` is a whole number ≥ ``least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"Expected `{name}` to be a whole number, but got {type(value).__name__}.")
    check_at_least(value, least, name)


def check_name(name: object, argument: str) -> str:
    """Return words, with slashes between, that may be part of a key, a file's path and a table's cell.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is longer than 100 characters or unprintable, or a word is empty, ``..``, or begins like a
            formula.
    """
    if not isinstance(name, str):
        raise TypeError(f"Expected names in `{argument}` to be words such as 'xai', but got {name!r}.")
    parts_fit = all(part.strip() and part not in {".", ".."} and part[0] not in "=+-@" for part in name.split("/"))
    if not parts_fit or len(name) > _LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"Expected names in `{argument}` to be words such as 'xai' ({_LONGEST_NAME} printable characters at most, "
            f"that do not begin with one of = + - @), but got {name[:_LONGEST_NAME]!r}."
        )
    return name


def shape(tensor: Tensor) -> str:
    """Return the shape of ``tensor`` as a reader writes it, ``(6, 8, 8)``."""
    return str(tuple(tensor.shape))


def renamed_arguments(**renamed: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Let a function refuse arguments of an earlier version by an error that says what replaced them.

    Args:
        **renamed: Old name -> what to pass instead.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(function)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            for name, instead in renamed.items():
                if name in kwargs:
                    raise TypeError(f"`{name}` is no longer an argument: pass `{instead}` instead.")
            return function(*args, **kwargs)

        return checked

    return decorate
