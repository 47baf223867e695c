"""Which of the logged metrics is the accuracy, and how sure it is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_WORD = re.compile(r"acc|acc@?\d+|accuracy|accuracy@?\d+|top@?\d+")
_NO_SHARE_OF_IMAGES = ("balanced", "macro", "mean", "per_class", "label")


def is_accuracy(name: str) -> bool:
    """Say whether a metric's name is that of an accuracy: a share of images, whose error follows from their number.

    Example:
        >>> [
        ...     name
        ...     for name in ("val_acc", "val/Accuracy", "balanced_accuracy", "val_loss", "access")
        ...     if is_accuracy(name)
        ... ]
        ['val_acc', 'val/Accuracy']
    """
    snake_case = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = re.split(r"[^a-z0-9@]+", snake_case)
    return any(_WORD.fullmatch(word) for word in words) and not any(one in snake_case for one in _NO_SHARE_OF_IMAGES)


def accuracies(names: Iterable[str], prefix: str) -> list[str]:
    """Return those of the logged names that are accuracies on validation images, but for the monitor's own keys."""
    shares = (name for name in names if is_accuracy(name) and not name.startswith(f"{prefix}/"))
    return sorted(name for name in shares if "train" not in name.lower() and not name.endswith("_step"))


def error_of_share(share: float, count: float) -> float:
    """Return the standard error of a share of ``count`` images, such as an accuracy.

    Example:
        >>> round(error_of_share(0.9, 100), 4)
        0.03
    """
    return math.sqrt(share * (1.0 - share) / count)
