"""Which process works on what, said by files in a folder that all of them see."""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 60.0
_RENEWALS = 4  # in the time after which others take over


class Leases:
    """Claims of work by lock files: an owner that dies gives its work back when it no longer renews them.

    A claim is a file that only one process can make; its owner touches it four times in ``seconds``. Others take it
    over when it was not touched for so long by the clock of the file system, or at once when its owner was a process of
    this machine that is no more. Two that take over at one moment may both do the work: results are written beside and
    renamed and are equal, so that costs time and nothing else.

    Args:
        folder: Where the claims lie; made if missing.
        seconds: How long a claim holds that nobody renews.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds
        self._me = uuid.uuid4().hex
        self._clock = -math.inf, 0.0  # when it was asked by ours, and what it said
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Yield whether the work of this name is ours until the body ends."""
        path = self._folder / f"{name}.json"
        if not (self._made(path) or (self._is_abandoned(path) and self._taken_over(path))):
            yield False
            return
        done = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(path, done), daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            done.set()
            renewing.join()
            if self._owner(path).get("owner") == self._me:
                path.unlink(missing_ok=True)

    def _made(self, path: Path) -> bool:
        content = {"owner": self._me, "host": socket.gethostname(), "process": os.getpid()}
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        return True

    def _is_abandoned(self, path: Path) -> bool:
        try:
            renewed = path.stat().st_mtime
        except FileNotFoundError:
            return True
        if self._now() - renewed > self._seconds:
            return True
        owner = self._owner(path)
        return owner.get("host") == socket.gethostname() and not _is_alive(owner.get("process"))

    def _taken_over(self, path: Path) -> bool:
        """Move an abandoned claim away, which one process alone can do, and make our own."""
        with suppress(FileNotFoundError):  # its owner finished, or another process was faster
            path.rename(self._folder / f".{self._me}.abandoned")
        (self._folder / f".{self._me}.abandoned").unlink(missing_ok=True)
        return self._made(path)

    def _now(self) -> float:
        """Return the time by the clock that dates files, which on a shared folder is not ours; it is asked rarely."""
        asked, answer = self._clock
        if time.monotonic() - asked > self._seconds / _RENEWALS:
            clock = self._folder / f".{self._me}.clock"
            clock.touch()
            asked, answer = self._clock = time.monotonic(), clock.stat().st_mtime
            clock.unlink(missing_ok=True)
        return answer + time.monotonic() - asked

    def _renew(self, path: Path, done: threading.Event) -> None:
        while not done.wait(self._seconds / _RENEWALS):
            try:
                os.utime(path)
            except OSError:  # taken over by others, or the folder cannot be reached for a moment
                continue

    @staticmethod
    def _owner(path: Path) -> dict[str, object]:
        try:
            owner: dict[str, object] = json.loads(path.read_text())
        except (OSError, ValueError):  # gone, or not yet written
            return {}
        return owner


def _is_alive(process: object) -> bool:
    if not isinstance(process, int) or os.name != "posix":  # where signal 0 is no question
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
