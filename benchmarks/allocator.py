"""Keep the C library from handing memory back between two forward passes, which is a lottery, not a cost of ours."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_HUGE = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed; False where there is no glibc.

    By default it returns activations of some tens of MiB to the system after a forward, or does not, depending on what
    else was allocated before; fetching them back page by page costs a small network up to 40 % of a pass, with or
    without us. On a GPU this plays no part: torch keeps freed memory there by itself.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(option, _HUGE) for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
