"""To which group each image of a batch belongs: its site, its scanner, its background."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from lightning_xai._settings import OfAnything
from lightning_xai.probing.extra_in_batch import as_tensors
from lightning_xai.probing.sample import checked_groups

Groups: TypeAlias = OfAnything | Callable[[Any], Any] | str
"""A key of the batch, or a function of the batch that returns a whole number or a text per image, None without.

The function stands first, so that a command line takes the path of one for that, and every other text for a key.
"""


def check_groups(groups: object) -> None:
    """Raise TypeError or ValueError if ``groups`` is neither the key of a batch nor a function of one."""
    if groups is not None and not isinstance(groups, str) and not callable(groups):
        raise TypeError(
            "Expected `groups` to be a key of the batch such as 'site', or a function of the batch, but got "
            f"{type(groups).__name__}."
        )
    if groups == "":
        raise ValueError("Expected `groups` to be a key of the batch such as 'site', but got ''.")


def groups_of(batch: Any, groups: Groups, count: int) -> tuple[str, ...] | None:
    """Return the group of each image of a batch as a text; None if a function says that it knows none.

    Args:
        batch: As the loader yields it.
        groups: A key of the batch, or of a mapping in it, also of one mapping per image; or a function of the batch.
        count: How many images the batch has.

    Raises:
        KeyError: If the batch has no such key.
        TypeError: If a group is neither a whole number nor a text.
        ValueError: If there is not one per image.

    Example:
        >>> groups_of({"image": None, "site": ["north", "south"]}, "site", 2)
        ('north', 'south')
    """
    if not isinstance(groups, str):
        given = groups(batch)
        return None if given is None else checked_groups(given, count, "groups=")
    for part in _mappings(as_tensors(batch)):
        if groups in part:
            return checked_groups(part[groups], count, f"groups={groups!r}")
    raise KeyError(groups)


def no_such_key(batch: Any, groups: Groups) -> str:
    """Return the words of the error about a batch that lacks the key."""
    keys = sorted({str(key) for part in _mappings(as_tensors(batch)) for key in part})
    held = f"whose keys are {', '.join(keys)}" if keys else f"which is a {type(batch).__name__} without keys"
    return (
        f"Expected groups={groups!r} to be a key of the validation's batches, but got one {held}. Pass "
        "`groups=` a function of the batch that returns the group of each image, or None for batches without groups."
    )


def _mappings(batch: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield the mappings of a batch: itself, those in it, and of a mapping per image that of their columns."""
    if isinstance(batch, Mapping):
        yield batch
        parts: Sequence[Any] = list(batch.values())
    else:
        parts = list(batch) if isinstance(batch, (list, tuple)) else []
    if parts and not isinstance(batch, Mapping) and all(isinstance(one, Mapping) for one in parts):
        yield {name: [one[name] for one in parts] for name in parts[0] if all(name in one for one in parts)}
        return
    for part in parts:
        if isinstance(part, (Mapping, list, tuple)):
            yield from _mappings(part)
