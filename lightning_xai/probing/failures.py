"""Which images of a whole validation show most: those the model is wrong about, and those about which it changed."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from lightning_xai.probing.probe import Item, item_of
from lightning_xai.probing.processes import Processes, of_all
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.validation import ValidationLogits

FailureKind: TypeAlias = Literal["followed", "newly wrong", "newly right", "confused", "confidently wrong"]
KINDS: tuple[FailureKind, ...] = get_args(FailureKind)
_KEPT = 32  # of each kind, on each process: among the most confidently wrong, the most confused pair is looked for
_QUARTER = 4  # of the images: for each kind but the most confidently wrong, which fill what is left


@dataclass(frozen=True)
class Verdicts:
    """Whether a model was right about each image of a validation.

    Attributes:
        keys: Content keys, int64 (N,), ascending.
        correct: Boolean (N,).
    """

    keys: Tensor
    correct: Tensor

    def of(self, keys: Tensor) -> Tensor:
        """Return 1 where it was right about an image, 0 where wrong, −1 where it is not known, int8 (n,)."""
        if not len(self.keys):
            return torch.full(keys.shape, -1, dtype=torch.int8)
        places = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[places] == keys, self.correct[places].to(torch.int8), -1).to(torch.int8)


@dataclass(frozen=True)
class Candidate:
    """An image that may be shown.

    Attributes:
        score: How much it says of its kind; greater comes first.
        key: Of its content.
        label: The class that it is of, -1 where none. Of multi-label data the class that the model is most wrong about,
            if the image shows it.
        predicted: The most probable class; of multi-label data the class that the model is most wrong about.
        probabilities: Of both.
        item: The image with what is known about it.
    """

    score: float
    key: int
    label: int
    predicted: int
    probabilities: tuple[float, float]
    item: Item

    @property
    def told(self) -> tuple[float, int, int, int]:
        """What other processes need to know before they agree."""
        return self.score, self.key, self.label, self.predicted


@dataclass(frozen=True)
class Failure:
    """An image to be shown, and why.

    Attributes:
        kind: ``"followed"``, ``"newly wrong"``, ``"newly right"``, ``"confused"`` (of the most confused pair of
            classes) or ``"confidently wrong"``.
        candidate: The image, and what the model says about it.
        heatmaps: Explainer -> raw heatmaps (2, H, W) of the label and of the prediction; (1, H, W) where both are one.
    """

    kind: FailureKind
    candidate: Candidate
    heatmaps: Mapping[str, Tensor] = field(default_factory=dict)


class FailureImages:
    """Keep the images that show most while the batches of a validation pass by: at most 32 of each kind.

    Args:
        verdicts: Of the last explanation, None if there is none: then no image is newly right or wrong.
        followed: Ids of images that are kept whatever the model says.
    """

    def __init__(self, verdicts: Verdicts | None = None, followed: Sequence[str] = ()) -> None:
        self._verdicts = verdicts
        self._followed = frozenset(followed)
        self._kept: dict[FailureKind, list[tuple[float, int, Candidate]]] = {kind: [] for kind in KINDS}

    def offer(self, sample: Sample, found: ValidationLogits) -> None:
        """Consider the images of a batch.

        Args:
            sample: The images, as they were before the step could change them.
            found: What the step said about them, in the same order.
        """
        losses, correct = found.losses.cpu(), found.correct.cpu()
        wrong = ~correct & ~losses.isnan()
        keys = found.keys.cpu()
        scores: dict[FailureKind, Tensor] = {"confidently wrong": torch.where(wrong, losses, -math.inf)}
        if self._verdicts is not None:
            before = self._verdicts.of(keys)
            scores["newly wrong"] = torch.where(wrong & (before == 1), losses, -math.inf)
            scores["newly right"] = torch.where(correct & (before == 0), -losses, -math.inf)
        if self._followed and sample.ids is not None:
            place = {name: -float(number) for number, name in enumerate(sorted(self._followed))}
            scores["followed"] = torch.tensor([place.get(name, -math.inf) for name in sample.ids])
        asked = _asked(found)
        for kind, of_kind in scores.items():
            for row in of_kind.isfinite().nonzero().flatten().tolist():
                self._keep(kind, float(of_kind[row]), int(keys[row]), sample, row, asked)

    def _keep(
        self, kind: FailureKind, score: float, key: int, sample: Sample, row: int, asked: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        heap = self._kept[kind]
        # Of equal scores the smaller key comes first, whatever the order in which images come.
        if any(-key == other for _, other, _ in (heap if kind != "followed" else ())):
            return
        entry = (score, -key)
        if len(heap) >= _KEPT and entry <= heap[0][:2] and kind != "followed":
            return
        label, predicted, probabilities = (one[row] for one in asked)
        known = (float(probabilities[0]), float(probabilities[1]))
        made = Candidate(score, key, int(label), int(predicted), known, item_of(sample, row))
        push = heapq.heappush if len(heap) < _KEPT or kind == "followed" else heapq.heapreplace
        push(heap, (*entry, made))

    def candidates(self) -> dict[FailureKind, list[Candidate]]:
        """Return what was kept of each kind, the greatest score first."""
        return {
            kind: [made for *_, made in sorted(kept, key=lambda one: one[:2], reverse=True)]
            for kind, kept in self._kept.items()
        }


def agreed_failures(
    processes: Processes, images: FailureImages, validation: ValidationLogits, num_images: int
) -> list[Failure]:
    """Return the images to be shown, the same in every process; every process must call it.

    A quarter each may be newly wrong, newly right, and of the most confused pair of classes; the most confidently wrong
    fill what is left. Followed images come on top. No image is shown twice.

    Args:
        processes: Those that agree.
        images: What this one kept.
        validation: The logits of all images, of all processes.
        num_images: How many beside the followed ones.
    """
    own = images.candidates()
    told = of_all(processes, {kind: [one.told for one in found] for kind, found in own.items()})
    merged = {kind: _merged([one[kind] for one in told]) for kind in KINDS}
    merged["confused"] = _of_most_confused_pair(merged["confidently wrong"], validation)
    chosen = _chosen(merged, num_images)
    wanted = {key for _, key in chosen}
    held = {one.key: one for found in own.values() for one in found if one.key in wanted}
    of_all_processes: dict[int, Candidate] = {}
    for one in reversed(of_all(processes, held)):
        of_all_processes.update(one)
    return [Failure(kind, of_all_processes[key]) for kind, key in chosen]


def most_confused_pair(validation: ValidationLogits) -> tuple[int, int] | None:
    """Return label and prediction of the mistake that is made most often; None without mistakes, or of several labels.

    Example:
        >>> logits = torch.tensor([[0.0, 4.0], [0.0, 1.0], [2.0, 0.0]])
        >>> most_confused_pair(ValidationLogits(torch.arange(3), torch.tensor([0, 0, 1]), logits, "multiclass"))
        (0, 1)
    """
    if validation.labels.ndim != 1:
        return None
    wrong = validation.wrong()
    predicted = validation.logits[wrong].argmax(1)
    pairs = Counter(zip(validation.labels[wrong].tolist(), predicted.tolist(), strict=True))
    return min(pairs, key=lambda pair: (-pairs[pair], pair)) if pairs else None


def _asked(found: ValidationLogits) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each image label, prediction, and the probabilities of both.

    Of several labels both are the worst class; where the image does not show it, there is no label.
    """
    probabilities = found.probabilities.cpu()
    if found.task == "multilabel" and found.labels.ndim == 2:
        truth = found.labels.cpu() > 0.5
        worst = torch.where(truth, 1.0 - probabilities, probabilities).argmax(1)
        label, predicted = torch.where(truth.gather(1, worst[:, None])[:, 0], worst, -1), worst
    else:
        label = found.labels.cpu() if found.labels.ndim == 1 else found.labels.cpu().argmax(1)
        predicted = probabilities.argmax(1)
    asked = torch.stack([label.clamp(min=0), predicted], 1)
    return label, predicted, probabilities.gather(1, asked)


def _merged(told: Sequence[Sequence[tuple[float, int, int, int]]]) -> list[tuple[float, int, int, int]]:
    """Return what all processes told of a kind, the greatest score first, each image once."""
    ordered = sorted((one for of_one in told for one in of_one), key=lambda one: (-one[0], one[1]))
    return list({one[1]: one for one in reversed(ordered)}.values())[::-1]


def _of_most_confused_pair(
    wrong: Sequence[tuple[float, int, int, int]], validation: ValidationLogits
) -> list[tuple[float, int, int, int]]:
    pair = most_confused_pair(validation)
    return [one for one in wrong if one[2:] == pair]


def _chosen(
    merged: Mapping[FailureKind, Sequence[tuple[float, int, int, int]]], num_images: int
) -> list[tuple[FailureKind, int]]:
    """Return kind and key of the images to be shown, in the order of kinds."""
    chosen: dict[int, FailureKind] = {}
    for kind in KINDS:
        left = num_images - sum(of != "followed" for of in chosen.values())
        most = {"followed": len(merged[kind]), "confidently wrong": left}.get(kind, min(num_images // _QUARTER, left))
        new = [key for _, key, *_ in merged[kind] if key not in chosen]
        chosen.update(dict.fromkeys(new[:most], kind))
    return [(kind, key) for key, kind in chosen.items()]
