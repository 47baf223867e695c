"""Keep the C library from handing memory back between two forward passes; for processes that are ours alone."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_HUGE = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed; False where there is no glibc.

    By default it returns activations of some tens of MiB to the system after a forward, or does not, depending on what
    else was allocated before; fetching them back page by page costs a small network up to 40 % of a pass, and a
    comparison of explainers of a ResNet-18 a fifth. On a GPU this plays no part: there torch keeps freed memory by
    itself.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(option, _HUGE) for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
