"""IDX files, in which MNIST, Fashion-MNIST and their relatives come."""

from __future__ import annotations

import gzip
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

_TYPES = {
    0x08: torch.uint8,
    0x09: torch.int8,
    0x0B: torch.int16,
    0x0C: torch.int32,
    0x0D: torch.float32,
    0x0E: torch.float64,
}
_GZIP = b"\x1f\x8b"


def read_idx(path: str | Path) -> Tensor:
    """Read an IDX file, plain or compressed with gzip, whatever its name.

    The format: two zero bytes, a byte for the type of the values, one for the number of axes, the length of each axis
    (four bytes, the most significant first), and the values, likewise.

    Args:
        path: Of the file.

    Returns:
        The values in the type (uint8, int8, int16, int32, float32 or float64) and shape that the header tells.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no IDX file, or holds more or less than its header tells.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 5]))
        >>> read_idx(path)
        tensor([7, 2, 5], dtype=torch.uint8)
    """
    content = Path(path).read_bytes()
    if content.startswith(_GZIP):
        content = gzip.decompress(content)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise ValueError(
            f"Expected `path` to be an IDX file, which begins with 00 00 and a known type, but {path} begins with "
            f"{content[:4].hex(' ') or 'nothing'}."
        )
    dtype, begin = _TYPES[content[2]], 4 + 4 * content[3]
    shape = [int.from_bytes(content[place : place + 4], "big") for place in range(4, begin, 4)]
    expected = begin + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"Expected {path} to have {expected} bytes, as its header tells of values of shape {tuple(shape)}, but got "
            f"{len(content)}. Was it copied or downloaded in part?"
        )
    if expected == begin:
        return torch.empty(shape, dtype=dtype)
    digits = torch.frombuffer(bytearray(content[begin:]), dtype=torch.uint8).view(-1, dtype.itemsize)
    if sys.byteorder == "little":
        digits = digits.flip(1)
    return digits.contiguous().view(dtype).reshape(shape)
