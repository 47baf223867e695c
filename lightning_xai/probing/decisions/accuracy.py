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
    return _says_accuracy(name) and not any(one in _snake_case(name) for one in _NO_SHARE_OF_IMAGES)


def accuracies(names: Iterable[str], *prefixes: str) -> list[str]:
    """Return those of the logged names that are accuracies on validation images, but for keys of these monitors."""
    return sorted(name for name in likely_accuracies(names, *prefixes) if is_accuracy(name))


def likely_accuracies(names: Iterable[str], *prefixes: str) -> list[str]:
    """Return the logged names that speak of accuracy on validation images, shares of images first, the shortest first.

    Keys of monitors with these prefixes are none of them.

    Example:
        >>> likely_accuracies(["balanced_accuracy", "val_acc", "train_acc", "val_loss", "val_acc_top5"], "xai")
        ['val_acc', 'val_acc_top5', 'balanced_accuracy']
    """
    ours = tuple(f"{prefix}/" for prefix in prefixes)
    found = (name for name in names if _says_accuracy(name) and not name.startswith(ours))
    of_validation = (name for name in found if "train" not in name.lower() and not name.endswith("_step"))
    return sorted(of_validation, key=lambda name: (not is_accuracy(name), len(name), name))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _says_accuracy(name: str) -> bool:
    return any(_WORD.fullmatch(word) for word in re.split(r"[^a-z0-9@]+", _snake_case(name)))


def error_of_share(share: float, count: float) -> float:
    """Return the standard error of a share of ``count`` images, such as an accuracy.

    Example:
        >>> round(error_of_share(0.9, 100), 4)
        0.03
    """
    return math.sqrt(share * (1.0 - share) / count)
