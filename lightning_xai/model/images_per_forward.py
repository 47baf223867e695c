"""How many images go through a model together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor
from torch.cuda import OutOfMemoryError, empty_cache

_PIXELS_AT_ONCE = 1 << 19
_MOST = 32


class ImagesPerForward:
    """A number of images per forward that all views of a model share; halved where the device has no room for them.

    Args:
        size: To begin with.
        without_gradients: Where no gradients are wanted, which needs less memory for each; ``size`` if that is more.

    Attributes:
        size: What it is now.
        without_gradients: What it is now without gradients.
    """

    def __init__(self, size: int, without_gradients: int | None = None) -> None:
        self.size = size
        self.without_gradients = max(size, without_gradients or size)

    def chunks(self, count: int) -> Iterator[slice]:
        """Yield slices of at most `size` that cover ``count`` images."""
        for start in range(0, count, self.size):
            yield slice(start, min(start + self.size, count))

    def evaluated(self, count: int, evaluate: Callable[[slice], Tensor]) -> list[Tensor]:
        """Return what ``evaluate`` returns, without gradients, for chunks that cover ``count`` images.

        A chunk that finds no room is halved.

        Raises:
            torch.OutOfMemoryError: If there is no room for a single image, or several processes work together: all must
                make the same number of forwards, and one that makes more would leave the others waiting.
        """
        parts: list[Tensor] = []
        start = 0
        while start < count:
            chunk = slice(start, min(start + self.without_gradients, count))
            part = self._attempted(evaluate, chunk)
            if part is not None:
                parts.append(part)
                start = chunk.stop
        return parts

    def _attempted(self, evaluate: Callable[[slice], Tensor], chunk: slice) -> Tensor | None:
        """Return what ``evaluate`` returns for a chunk; None if the next one must be smaller."""
        size = chunk.stop - chunk.start
        try:
            return evaluate(chunk)
        except OutOfMemoryError:
            if size == 1 or _several_processes():
                raise
        # not before the error and with it the tensors of the forward that failed are gone
        empty_cache()
        self.without_gradients = size // 2
        self.size = min(self.size, self.without_gradients)
        warnings.warn(shortage(size, self.without_gradients), stacklevel=3)
        return None


def cheapest_on_cpu(num_pixels: int) -> int:
    """Return how many images go through a model together on a CPU, by their size alone: at most 32.

    Fewer do not keep a processor busy. With more, the C library may hand what a forward needed back to the system after
    each one: in a fit, 32 images of 224 x 224 pixels cost up to 1.5 times as much as in eights. Where it keeps the
    memory, both cost about the same (``benchmarks/README.md``).

    Args:
        num_pixels: Height times width of an image.

    Example:
        >>> [cheapest_on_cpu(side**2) for side in (32, 128, 160, 224, 384, 1024)]
        [32, 32, 16, 8, 2, 1]
    """
    fitting = max(1, _PIXELS_AT_ONCE // num_pixels)
    return min(_MOST, 1 << fitting.bit_length() - 1)  # a power of two


def images_at_once(images: Tensor) -> int:
    """Return how many of a batch (N, C, H, W) go through a model together if nobody says it: all, but on a CPU."""
    return cheapest_on_cpu(images.shape[2] * images.shape[3]) if images.device.type == "cpu" else len(images)


def shortage(size: int, fewer: int) -> str:
    """Return a message that ``size`` images found no room, and that ``fewer`` are tried from now on."""
    return (
        f"There was no room for {size} images at a time in the device's memory: from now on {fewer} go through the "
        f"model together. Set Readout(chunk_size={fewer}) to begin with that."
    )


def proven_room(device: torch.device) -> int | None:
    """Return the bytes that the process has used at its peak, by training, and does not use now; None on a CPU."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
