"""Which validations of a fit are explained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_info

from lightning_xai._checks import check_count
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.watchers import warn_of_patience
from lightning_xai.probing.decisions.effort import Effort

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer


@dataclass(frozen=True)
class Schedule:
    """When to explain: in every n-th epoch, once, or once in n optimizer steps.

    Args:
        effort: In the last validation of every n-th epoch; or in the first one that comes so many steps after the last
            explained one.
    """

    effort: Effort

    def is_due(self, trainer: Trainer, run: RunState) -> bool:
        """Return whether the validation that begins now is explained."""
        if trainer.sanity_checking:
            return True
        if is_resumed_midway(trainer):
            return False
        if self.effort.every_n_steps is not None:
            return run.first or self.is_in_step(trainer, run)
        return is_due(
            trainer.current_epoch,
            self.effort.every_n_epochs,
            run.last_epoch,
            first=run.first,
            last_in_epoch=is_last_in_epoch(trainer),
        )

    def is_in_step(self, trainer: Trainer, run: RunState) -> bool:
        """Return whether so many steps have passed; what is explained out of step, as after a resume, moves nothing."""
        return run.last_step is None or trainer.global_step - run.last_step >= (self.effort.every_n_steps or 1)

    def explain_itself(self, trainer: Trainer, prefix: str) -> None:
        """Say, when a fit has begun, which validations are left out, and what that means for who counts them."""
        validations, epochs = self._validations(trainer), self.effort.every_n_epochs
        self.warn_watchers(trainer, prefix)
        if self.effort.every_n_steps is None and validations > epochs:
            rank_zero_info(
                f"ExplanationMonitor explains one of {validations // epochs} validations of an epoch, the last; "
                "every_n_steps= explains more often."
            )

    def warn_watchers(self, trainer: Trainer, prefix: str) -> None:
        """Say what the patience of those must be who count every validation."""
        unit = "epochs" if self.effort.every_n_steps is None else "validations"
        warn_of_patience(trainer, prefix, self._validations(trainer), unit)

    def _validations(self, trainer: Trainer) -> int:
        """Return how many validations there are to one explanation, 1 where that is not known."""
        if self.effort.every_n_steps is None:
            return self.effort.every_n_epochs * validations_in_epoch(trainer)
        batches = _batches_between(trainer)
        steps = 0.0 if batches is None else batches / trainer.accumulate_grad_batches
        return math.ceil(self.effort.every_n_steps / steps) if steps else 1


def check_effort(effort: Effort) -> None:
    """Raise TypeError or ValueError if a number is none, or below 1, or both epochs and steps are given."""
    check_count(effort.num_images, "num_images")
    check_count(effort.every_n_epochs, "every_n_epochs")
    if effort.every_n_steps is not None:
        check_count(effort.every_n_steps, "every_n_steps")
        if effort.every_n_epochs != 1:
            raise ValueError(
                "Expected `every_n_epochs` or `every_n_steps`, because one of them says when to explain, but got "
                f"every_n_epochs={effort.every_n_epochs} and every_n_steps={effort.every_n_steps}."
            )


def is_due(epoch: int, every_n_epochs: int, last_epoch: int | None, *, first: bool, last_in_epoch: bool = True) -> bool:
    """Return whether this validation is explained.

    Args:
        epoch: Current epoch, from 0.
        every_n_epochs: The user's wish n.
        last_epoch: The last epoch that was explained in this fit, None if none was.
        first: Whether this is the first validation of this fit (also after a resume).
        last_in_epoch: Whether no other validation comes in this epoch.

    Returns:
        True in the last validation of every n-th epoch, in the first of all, and when n or more epochs have passed
        since the last one, because validation may run less often than every epoch.

    Example:
        >>> [epoch for epoch in (2, 5, 8) if is_due(epoch, 2, epoch - 3, first=False)]
        [2, 5, 8]
    """
    if first or last_epoch is None:
        return True
    return last_in_epoch and ((epoch + 1) % every_n_epochs == 0 or epoch - last_epoch >= every_n_epochs)


def is_last_in_epoch(trainer: Trainer) -> bool:
    """Return whether this epoch has no further validation; True where its end, or the next validation, is unknown."""
    between, batches = _batches_between(trainer), trainer.num_training_batches
    if between is None or batches == math.inf:
        return True
    return between > batches - (trainer.fit_loop.epoch_loop.batch_idx + 1)


def validations_in_epoch(trainer: Trainer) -> int:
    """Return how often an epoch is validated, at least 1; where that is unknown, each validation counts as an epoch."""
    between, batches = _batches_between(trainer), trainer.num_training_batches
    return 1 if between is None or batches == math.inf else max(1, int(batches // between))


def has_known_epochs(trainer: Trainer) -> bool:
    """Return whether it is known how many batches an epoch has, and after how many it is validated."""
    return _batches_between(trainer) is not None and trainer.num_training_batches != math.inf


def is_resumed_midway(trainer: Trainer) -> bool:
    """Return whether a resumed fit goes on inside a validation, which then shows only a part of its images."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    return trainer.state.fn == "fit" and bool(getattr(loop, "restarted_mid_evaluation", False))


def _batches_between(trainer: Trainer) -> float | None:
    """Return the training batches from one validation to the next; None if time, or the end of the data, decides."""
    between = getattr(trainer, "val_check_batch", None)
    return None if between is None or between == math.inf else float(between)
