"""When to explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def is_due(epoch: int, every_n_epochs: int, last_epoch: int | None, *, first: bool) -> bool:
    """Return whether this validation is explained.

    Args:
        epoch: Current epoch, from 0.
        every_n_epochs: The user's wish n.
        last_epoch: The last epoch that was explained in this fit, None if none was.
        first: Whether this is the first validation of this fit (also after a resume).

    Returns:
        True in every n-th epoch, in the first validation, and when n or more epochs have passed since the last one,
        because validation may run less often than every epoch.

    Example:
        >>> [epoch for epoch in (2, 5, 8) if is_due(epoch, 2, epoch - 3, first=False)]
        [2, 5, 8]
    """
    if first or last_epoch is None:
        return True
    return (epoch + 1) % every_n_epochs == 0 or epoch - last_epoch >= every_n_epochs


def is_resumed_midway(trainer: Trainer) -> bool:
    """Return whether a resumed fit goes on inside a validation, which then shows only a part of its images."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    return trainer.state.fn == "fit" and bool(getattr(loop, "restarted_mid_evaluation", False))
