"""When to explain."""

from __future__ import annotations


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
