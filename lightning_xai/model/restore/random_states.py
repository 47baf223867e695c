"""The random states of the process."""

from __future__ import annotations

import random

import numpy as np
import torch

from lightning_xai.model.restore.piece import Restore


def random_states() -> Restore:
    """Note the random states of torch (CPU and CUDA), numpy and python."""
    cpu, python, arrays = torch.get_rng_state(), random.getstate(), np.random.get_state()
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if used else None

    def restore() -> None:
        torch.set_rng_state(cpu)
        random.setstate(python)
        np.random.set_state(arrays)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return restore
