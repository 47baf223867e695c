"""What becomes of an error that one rank meets while it explains: all ranks leave the values out, or all end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai._lightning import MisconfigurationException, is_misconfiguration
from lightning_xai.callbacks.validation import Step, Validation
from lightning_xai.callbacks.watchers import would_stop
from lightning_xai.probing.processes import all_succeeded, first_error, of_all


class Skipped(Exception):  # noqa: N818 - no error: it was told as one
    """This validation has no values, on any rank."""


@dataclass(frozen=True)
class Errors:
    """Agree on errors, and tell them.

    Attributes:
        on_error: Whether an error skips the values with a warning or ends the run.
        prefix: Of the keys that keep their last value then.
    """

    on_error: Literal["warn", "raise"]
    prefix: str

    def agreeing(self, *steps: Step) -> Step:
        """Return the steps as one after which ranks agree, so that none goes on alone; they talk to no other rank.

        It raises `Skipped` on every rank if a step raised on some; that was told.
        """

        def agreed(at: Validation) -> None:
            error: Exception | None = None
            try:
                for step in steps:
                    step(at)
            except Exception as caught:
                error = caught
            self.agree(at, error)

        return agreed

    def agree_so_far(self, at: Validation) -> None:
        """Go on if the steps of the validation met no error on any rank; see `agree`."""
        self.agree(at, at.run.error)

    def agree(self, at: Validation, error: Exception | None) -> None:
        """Go on if no rank met an error; every rank must call it.

        Raises:
            Skipped: If one did, which was told.
            Exception: That of this rank, or one that names the rank that met it, if it ends the run.
        """
        if not all_succeeded(at.processes, error is None):
            self._tell(at, error)
            raise Skipped from error

    def _tell(self, at: Validation, error: Exception | None) -> None:
        run, reason = at.run, str(first_error(at.processes, error))
        misconfigured = is_misconfiguration(error) or (not run.tried and isinstance(error, (TypeError, ValueError)))
        if self.on_error == "raise" or any(of_all(at.processes, misconfigured)):
            raise error or RuntimeError(f"Explaining failed on {reason}")
        run.failures += 1
        if not run.epochs and would_stop(at.trainer, self.prefix, run.failures, run.last_values):
            raise MisconfigurationException(
                f"Expected values for the early stopping on {self.prefix}/…, which ends the run now, but "
                f"explaining failed in all of {run.failures} validations, at last on {reason}"
            ) from error
        run.tried = True  # what comes now is no error of configuration, and must not end the run
        rank_zero_warn(
            f"ExplanationMonitor logs nothing for epoch {at.trainer.current_epoch}, because explaining failed on "
            f"{reason.rstrip('.')}. Training goes on; monitored keys keep their last value. Use on_error='raise' to "
            "see where it comes from."
        )


def raise_on_all(at: Validation, error: Exception | None) -> None:
    """Raise on every rank, and at one moment, what is wrong on any; every rank must call it.

    Raises:
        Exception: That of this rank.
        RuntimeError: If another rank met it.
    """
    reason = first_error(at.processes, error)
    if reason is not None:
        raise error or RuntimeError(f"Explaining failed on {reason}")
