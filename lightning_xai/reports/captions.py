"""What stands beside the images of a grid: class names, labels, what the model says, and what is explained."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lightning_xai._lightning import each_loader
from lightning_xai.probing.explained import Explained
from lightning_xai.probing.sample import Sample

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer

_LETTERS = 24  # of a line beside a picture


@dataclass(frozen=True)
class Captions:
    """Captions and marks of the first images of a probe.

    Args:
        sample: These images, with all of their labels where there are several; or each in a sample of its own.
        found: About the whole probe.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        class_names: Shown instead of class numbers.
    """

    sample: Sample | Sequence[Sample]
    found: Explained
    task: str
    class_names: Sequence[str] | None = None

    @property
    def texts(self) -> list[str]:
        """A caption for each image, lines separated by newlines."""
        return [self._text(row) for row in range(len(self._places))]

    @property
    def truths(self) -> list[str]:
        """What is known of each image without the model: its id and labels, lines separated by newlines."""
        return ["\n".join(self._known(row)) for row in range(len(self._places))]

    @property
    def correct(self) -> list[bool | None] | None:
        """Whether the model is right about each image, None where it has no label; None if none has."""
        marks = [self._is_right(row) for row in range(len(self._places))]
        return None if all(mark is None for mark in marks) else marks

    @cached_property
    def _places(self) -> list[tuple[Sample, int]]:
        """For each image the sample that holds it, and where."""
        samples = self.sample if isinstance(self.sample, Sequence) else [self.sample]
        return [(sample, place) for sample in samples for place in range(len(sample.images))]

    def _text(self, row: int) -> str:
        found = self.found
        label, predicted, target = (int(of[row]) for of in (found.labels, found.predicted, found.target))
        known = [] if label < 0 else [label]
        probability = float(found.probabilities[row, predicted])
        nothing = self.task == "multilabel" and probability <= 0.5
        said, how_sure = ("likeliest", "probability") if nothing else ("predicted", "confidence")
        lines = [*self._known(row), f"{said} {self._name(predicted)}", f"{how_sure} {probability:.2f}"]
        if target != predicted:
            lines += [f"explained {self._name(target)}", f"probability {float(found.probabilities[row, target]):.2f}"]
        elif known not in ([], [target]):
            lines.append(f"explained {self._name(target)}")
        return "\n".join(lines)

    def _known(self, row: int) -> list[str]:
        label = int(self.found.labels[row])
        return [*self._identity(row), *self._labels(row, [] if label < 0 else [label])]

    def _identity(self, row: int) -> list[str]:
        sample, place = self._places[row]
        ids = [] if sample.ids is None else [f"id {sample.ids[place]}"]
        return ids if sample.groups is None else [*ids, f"group {sample.groups[place]}"]

    def _labels(self, row: int, known: list[int]) -> list[str]:
        """Return the line, or two, about the labels, the class that the image stands for first."""
        positives = self._positives(row)
        if positives is None:
            return [f"label {self._name(label)}" for label in known]
        if not positives:
            return ["no label"]
        ordered = [*known, *(label for label in positives if label not in known)]
        return _listed([self._name(label) for label in ordered])

    def _positives(self, row: int) -> list[int] | None:
        """Return all classes that an image of multi-label data shows, None where only one is known."""
        sample, place = self._places[row]
        labels = sample.labels
        several = self.task == "multilabel" and labels is not None and labels.ndim == 2
        return labels[place].nonzero().flatten().tolist() if several and labels is not None else None

    def _is_right(self, row: int) -> bool | None:
        label, probabilities = int(self.found.labels[row]), self.found.probabilities[row]
        if self.task == "multilabel":  # another class of the image may be more probable
            if label >= 0:
                return bool(probabilities[label] > 0.5)
            return bool((probabilities <= 0.5).all()) if self._positives(row) == [] else None
        return None if label < 0 else label == int(self.found.predicted[row])

    def _name(self, label: int) -> str:
        known = self.class_names is not None and 0 <= label < len(self.class_names)
        return self.class_names[label] if known and self.class_names is not None else str(label)


def _listed(names: Sequence[str]) -> list[str]:
    """Return at most two lines with as many names as fit there, and the number of those that do not.

    Example:
        >>> _listed(["mass", "nodule"])
        ['labels mass, nodule']
        >>> _listed(["cardiomegaly", "pneumothorax", "infiltrate", "mass"])
        ['labels cardiomegaly,', 'pneumothorax, +2']
    """
    for shown in range(len(names), 0, -1):
        rest = [f"+{len(names) - shown}"] if shown < len(names) else []
        word = "label" if len(names) == 1 else "labels"
        lines = textwrap.wrap(f"{word} {', '.join([*names[:shown], *rest])}", _LETTERS, break_long_words=False)
        if len(lines) <= 2:
            break
    return lines


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
    flattened = list(each_loader(loaders))
    return _read(flattened[loader], "dataset") if loader < len(flattened) else None


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
