"""What is known about one case, kept as long as somebody will read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lightning_xai.evidence.evidence import Evidence

Value = TypeVar("Value")


class Memo:
    """What each evidence said about one case: collected at its first reading, dropped after the last one announced.

    A failed collection is remembered too, and raised again. What nobody announced is kept.

    Attributes:
        frees: Whether anything is dropped; all is kept if not.
    """

    def __init__(self) -> None:
        self.frees = True
        self._results: dict[Evidence[Any], Any] = {}
        self._readings_left: dict[Evidence[Any], int] = {}

    def announce(self, evidence: Evidence[Any]) -> bool:
        """Say that ``evidence`` will be read once more; return whether it will be collected for that."""
        if not self.frees:
            return False
        is_new = evidence not in self._readings_left and evidence not in self._results
        self._readings_left[evidence] = self._readings_left.get(evidence, 0) + 1
        return is_new

    def known(self, evidence: Evidence[Value]) -> Value | None:
        """Return what ``evidence`` said, if it did."""
        result: Value | None = self._results.get(evidence)
        return None if isinstance(result, Exception) else result

    def keep(self, evidence: Evidence[Value], result: Value) -> None:
        """Take ``result`` for what ``evidence`` says."""
        self._results[evidence] = result

    def read(self, evidence: Evidence[Any], collect: Callable[[Evidence[Any]], Any]) -> Any:
        """Return what ``evidence`` says; ``collect`` returns it, or the exception that prevented it."""
        if evidence not in self._results:
            self._results[evidence] = collect(evidence)
        result = self._results[evidence]
        if evidence in self._readings_left:
            self._readings_left[evidence] -= 1
            if self._readings_left[evidence] <= 0:
                del self._results[evidence], self._readings_left[evidence]
        if isinstance(result, Exception):
            raise result
        return result
