"""Files of a run, in a local folder or on any filesystem of fsspec, so written that a reader never sees half of one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

_LOCAL_SCHEMES = ("file", "local")  # what fsspec calls them


def joined(directory: str | Path, *names: str) -> str | Path:
    """Return the path of something below a directory: a Path, or a URL where the directory is one.

    Example:
        >>> joined("memory://runs/a", "xai", "history.csv")
        'memory://runs/a/xai/history.csv'
        >>> joined("runs", "history.csv") == Path("runs") / "history.csv"
        True
    """
    if "://" in str(directory):
        return "/".join([str(directory).removesuffix("/"), *names])
    return Path(directory, *names)


def absolute(directory: str | Path) -> str | Path:
    """Return a folder that stays where it is when the working directory changes."""
    return directory if "://" in str(directory) else Path(directory).absolute()


def exists(path: str | Path) -> bool:
    """Return whether there is such a file, local or on a filesystem of fsspec; False where one cannot be asked."""
    return Path(path).is_file() if "://" not in str(path) else _says("isfile", path)


def is_folder(path: str | Path) -> bool:
    """Return whether there is such a folder; see `exists`."""
    return Path(path).is_dir() if "://" not in str(path) else _says("isdir", path)


def _says(question: str, url: str | Path) -> bool:
    from fsspec.core import url_to_fs

    try:
        return bool(getattr(url_to_fs(str(url))[0], question)(str(url)))
    except Exception:  # each filesystem has errors of its own, and writing will tell them
        return False


def read_file(path: str | Path) -> bytes:
    """Return the content of a file, local or on a filesystem of fsspec.

    Raises:
        OSError: If it cannot be read; remote filesystems raise errors of their own as well.
    """
    if "://" not in str(path):
        return Path(path).read_bytes()
    from fsspec.core import url_to_fs

    content: bytes = url_to_fs(str(path))[0].cat_file(str(path))
    return content


def write_file(path: str | Path, content: bytes) -> None:
    """Write a whole file, or leave the old one as it is; folders that are missing are made.

    A local file is written beside its place, flushed to the disk and renamed, so that neither a full disk nor a killed
    process leaves half a file. Every other filesystem gets the content in one put.

    Args:
        path: Local, or a URL of a filesystem that fsspec knows, such as ``s3://bucket/run/history.csv``.
        content: All bytes of the file.

    Raises:
        OSError: If the file cannot be written; remote filesystems raise errors of their own as well.
    """
    scheme, separator, below = str(path).partition("://")
    if not separator:
        _write_local(Path(path), content)
    elif scheme in _LOCAL_SCHEMES:
        _write_local(Path(below), content)
    else:
        _put_remote(str(path), content)


def _write_local(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}.tmp")  # of its own, whatever other processes and machines write
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # left only if something failed


def _put_remote(url: str, content: bytes) -> None:
    from fsspec.core import url_to_fs

    filesystem, _ = url_to_fs(url)
    filesystem.makedirs(url.rpartition("/")[0], exist_ok=True)
    filesystem.pipe_file(url, content)
