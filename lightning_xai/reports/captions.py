"""What stands beside the images of a grid: what they show, what the model says, and what is explained."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lightning_xai.probing.explained import Explained
from lightning_xai.probing.sample import Sample

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
        lines = [*self._identity(row), *self._labels(row, known)]
        lines += [f"predicted {self._name(predicted)}", f"confidence {float(found.probabilities[row, predicted]):.2f}"]
        if target != predicted:
            lines += [f"explained {self._name(target)}", f"probability {float(found.probabilities[row, target]):.2f}"]
        elif known not in ([], [target]):
            lines.append(f"explained {self._name(target)}")
        return "\n".join(lines)

    def _identity(self, row: int) -> list[str]:
        sample, place = self._places[row]
        return [] if sample.ids is None else [f"id {sample.ids[place]}"]

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
