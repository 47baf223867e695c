"""How much memory a piece of work needs at its peak."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lightning_xai.model.live_bytes import live_bytes


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that tensors made by ``work`` held at a time, by the allocator's count on CUDA."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    return live_bytes(work, device.type)
