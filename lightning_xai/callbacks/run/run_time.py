"""How long a fit has taken so far, and how much of that went into explaining."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class FirstValidation:
    """What had passed when the first validation of a fit (or of a resumed one) ended, before it was explained.

    Attributes:
        seconds: Of training and validating, without the sanity check.
        batches: Of training.
        steps: Of the optimizers.
    """

    seconds: float
    batches: int
    steps: int


class RunTime:
    """The time of a fit, over all resumes, and the part of it that explaining took.

    Attributes:
        explaining: Seconds that explaining took, reports included.
        first_validation: Of this process; None before it.
    """

    def __init__(self) -> None:
        self.explaining = 0.0
        self.first_validation: FirstValidation | None = None
        self._earlier = 0.0
        self._began: float | None = None
        self._epoch_began: float | None = None
        self._explaining_since: float | None = None
        self._at_start = (0, 0)

    def begin(self, batches: int, steps: int) -> None:
        """Begin to train, after so many batches and steps; also again after an interruption."""
        self._began, self._at_start = perf_counter(), (batches, steps)

    def begin_epoch(self) -> None:
        """Begin an epoch of training."""
        self._epoch_began = perf_counter()

    def end(self) -> None:
        """Stop counting, until training begins again."""
        self._earlier, self._began = self.elapsed, None

    @property
    def elapsed(self) -> float:
        """Seconds of the fit so far."""
        return self._earlier + _since(self._began)

    @property
    def of_epoch(self) -> float | None:
        """Seconds of the running epoch so far; None outside of training."""
        return None if self._epoch_began is None else _since(self._epoch_began)

    @property
    def overhead(self) -> float:
        """Share of the fit's time so far that explaining took, in [0, 1]."""
        elapsed = self.elapsed
        return min(1.0, (self.explaining + _since(self._explaining_since)) / elapsed) if elapsed > 0 else 0.0

    def note_validation(self, batches: int, steps: int) -> None:
        """Note what had passed at the first validation; one before any training, as after a resume, says nothing."""
        batches, steps = batches - self._at_start[0], steps - self._at_start[1]
        if self.first_validation is None and batches > 0:
            self.first_validation = FirstValidation(_since(self._began), batches, steps)

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Count what happens inside as explaining."""
        self._explaining_since = perf_counter()
        try:
            yield
        finally:
            self.explaining += _since(self._explaining_since)
            self._explaining_since = None

    def state(self) -> dict[str, float]:
        """Return plain values for a checkpoint."""
        return {"elapsed": self.elapsed, "explaining": self.explaining + _since(self._explaining_since)}

    def restore(self, elapsed: float, explaining: float) -> None:
        """Go on from what a checkpoint holds."""
        self._earlier, self.explaining = elapsed, explaining


def _since(moment: float | None) -> float:
    return 0.0 if moment is None else perf_counter() - moment
