"""Evidence that is known already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_xai.evidence.evidence import Evidence


class Memo:
    """Collect each evidence at its first reading, and drop it after the last one that was announced.

    A failed collection is remembered too, and raised again.
    """

    def __init__(self) -> None:
        self._known: dict[Evidence, Any] = {}
        self._readers: dict[Evidence, int] = {}

    def announce(self, evidence: Evidence) -> bool:
        """Say that ``evidence`` will be read once more; return whether it will be collected for that."""
        is_new = evidence not in self._readers and evidence not in self._known
        self._readers[evidence] = self._readers.get(evidence, 0) + 1
        return is_new

    def read(self, evidence: Evidence, collect: Callable[[Evidence], Any]) -> Any:
        """Return what ``evidence`` says; ``collect`` returns it, or the exception that prevented it."""
        if evidence not in self._known:
            self._known[evidence] = collect(evidence)
        found = self._known[evidence]
        if evidence in self._readers:
            self._readers[evidence] -= 1
            if self._readers[evidence] <= 0:
                del self._known[evidence], self._readers[evidence]
        if isinstance(found, Exception):
            raise found
        return found
