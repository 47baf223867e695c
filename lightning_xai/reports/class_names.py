"""The names of the classes, where data, DataModule or model know them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer

_NAMES_OF_DATA = ("classes", "class_names", "class_to_idx", "categories")
_DEEPEST = 8  # wrappers around a data set
_NO_NAME = re.compile(r"LABEL_\d+")  # what Hugging Face writes where nobody gave names


def class_names(trainer: Trainer, stage: str, loader: int, num_classes: int) -> tuple[str, ...] | None:
    """Find the names of the classes: of the loader's data set, else of the DataModule, else of the model.

    Read are ``classes``, ``class_names``, ``class_to_idx`` and ``categories`` of a data set (also inside `Subset`,
    `ConcatDataset` and other wrappers that call it ``dataset`` or ``datasets``) and of a DataModule, class labels among
    the ``features`` of a Hugging Face data set, and ``config.id2label`` of a model or a part of it. Names that the data
    call otherwise than the model are the data's: labels are numbered there.

    Args:
        trainer: Whose loaders and model are looked at.
        stage: ``"fit"``, ``"validate"`` or ``"test"``.
        loader: Index of the loader.
        num_classes: How many names there must be: as many as the model gives probabilities.

    Returns:
        The names, or None: nobody knows so many, or the parts of a data set, or data and model, have the same names in
        another order.
    """
    dataset = _dataset(trainer, stage, loader)
    sources = [_of_dataset(dataset), _of_attributes(_read(trainer, "datamodule")), _of_model(trainer)]
    fitting = [names for source in sources for names in source if len(names) == num_classes]
    orders: dict[frozenset[str], set[tuple[str, ...]]] = {}
    for names in fitting:
        orders.setdefault(frozenset(names), set()).add(names)
    contradicting = any(len(found) > 1 for found in orders.values())
    return None if contradicting or not fitting else fitting[0]


def _dataset(trainer: Trainer, stage: str, loader: int) -> Any:
    loaders = _read(trainer, "test_dataloaders" if stage == "test" else "val_dataloaders")
    flattened = [] if loaders is None else list(_each(loaders))
    return _read(flattened[loader], "dataset") if loader < len(flattened) else None


def _each(loaders: Any) -> Iterator[Any]:
    """Yield the loaders of a nested collection in the order in which Lightning numbers them."""
    if not isinstance(loaders, (list, tuple, dict)):
        yield loaders
        return
    for part in loaders.values() if isinstance(loaders, dict) else loaders:
        yield from _each(part)


def _of_dataset(dataset: Any, depth: int = 0) -> Iterator[tuple[str, ...]]:
    if dataset is None or depth > _DEEPEST:
        return
    yield from _of_attributes(dataset)
    parts = _read(dataset, "datasets")
    for part in [_read(dataset, "dataset"), *(parts if isinstance(parts, Sequence) else ())]:
        yield from _of_dataset(part, depth + 1)


def _of_attributes(owner: Any) -> Iterator[tuple[str, ...]]:
    for attribute in _NAMES_OF_DATA:
        yield from _in_order(_read(owner, attribute))
    features = _read(owner, "features")
    for feature in features.values() if isinstance(features, Mapping) else ():
        of_one, of_each = _read(feature, "names"), _read(_read(feature, "feature"), "names")  # a label, or several
        yield from _in_order(of_one or of_each)


def _of_model(trainer: Trainer) -> Iterator[tuple[str, ...]]:
    module = _read(trainer, "lightning_module")
    for part in module.modules() if module is not None else ():
        names = _read(_read(part, "config"), "id2label")
        yield from (found for found in _in_order(names) if not all(map(_NO_NAME.fullmatch, found)))


def _read(owner: Any, name: str) -> Any:
    """Return an attribute, None if there is none or if it is a property of the user's that fails."""
    with suppress(Exception):
        return getattr(owner, name, None)
    return None


def _in_order(names: Any) -> Iterator[tuple[str, ...]]:
    """Yield the names by their numbers, if they are names: a list, or a mapping from or to 0 … K - 1."""
    if isinstance(names, Mapping):
        number_first = all(isinstance(name, str) for name in names.values())
        by_number = dict(names) if number_first else {number: name for name, number in names.items()}
        if set(by_number) != set(range(len(by_number))) or len(by_number) != len(names):
            return
        names = [by_number[number] for number in range(len(by_number))]
    if isinstance(names, Sequence) and not isinstance(names, str):
        first = [name[0] if isinstance(name, tuple) and name else name for name in names]  # ImageNet has synonyms
        if first and all(isinstance(name, str) for name in first):
            yield tuple(first)
