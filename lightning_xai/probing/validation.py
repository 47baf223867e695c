"""What the steps of a whole validation said about every image, not only about the probe's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.probing.decisions.accuracy import error_of_share


@dataclass(frozen=True)
class Accuracy:
    """How many of some images a model is right about.

    Attributes:
        value: Their share, in [0, 1].
        num_images: Of how many.
        most_frequent: Share of the most frequent label, which a model reaches that looks at nothing.

    Example:
        >>> found = Accuracy(0.9, 100, 0.5)
        >>> round(found.error, 4), found.is_right
        (0.03, True)
    """

    value: float
    num_images: int
    most_frequent: float

    @property
    def error(self) -> float:
        """Standard error of the share."""
        return error_of_share(self.value, self.num_images)

    @property
    def is_right(self) -> bool:
        """Whether it exceeds one half and the most frequent label's share by more than two standard errors."""
        return self.value - 2.0 * self.error > max(0.5, self.most_frequent)

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f} on {self.num_images} images"


def accuracy_of(correct: Tensor, labels: Tensor) -> Accuracy | None:
    """Return the accuracy of images; None without labels.

    Args:
        correct: Boolean (N,); False without a label.
        labels: int64 (N,), -1 where none; or (N, K), positive above 0.5, of several per image.
    """
    known = labels >= 0 if labels.ndim == 1 else torch.ones(len(labels), dtype=torch.bool)
    if not bool(known.any()):
        return None
    kinds = labels[known] if labels.ndim == 1 else labels > 0.5
    counts = torch.unique(kinds, dim=0, return_counts=True)[1]
    return Accuracy(float(correct[known].double().mean()), len(kinds), float(counts.max()) / len(kinds))


@dataclass(frozen=True, eq=False)
class ValidationLogits:
    """The logits that a validation's own steps computed, of every image, on the CPU; they cost no evaluation.

    Images are in the order of their keys; one that came twice, as samplers pad, stands once.

    Attributes:
        keys: Content key of each image, int64 (N,), as in `Explained`.
        labels: Classes, int64 (N,), -1 where none; or float32 (N, K), positive above 0.5, of several per image.
        logits: float32 (N, K), as `Classifier.logits` returns them.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        complete: Whether these are all images of the validation; there may be too many to keep.

    Example:
        >>> logits = torch.tensor([[0.0, 4.0], [0.0, 1.0], [2.0, 0.0]])
        >>> found = ValidationLogits(torch.tensor([3, 5, 8]), torch.tensor([0, 0, 0]), logits, "multiclass")
        >>> found.wrong().tolist()  # the surer one first
        [0, 1]
    """

    keys: Tensor
    labels: Tensor
    logits: Tensor
    task: str
    complete: bool = True

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def probabilities(self) -> Tensor:
        """Probability of each class, float32 (N, K): softmax; sigmoid for binary and multi-label."""
        return self.logits.softmax(1) if self.task == "multiclass" else self.logits.sigmoid()

    @property
    def losses(self) -> Tensor:
        """How improbable the truth is, in nats, float32 (N,): its −log p, in multi-label data that of the worst class.

        NaN for images without a label. It orders also those that are wrong with a probability that rounds to 1.
        """
        if self.task == "multilabel":
            if self.labels.ndim == 1:
                return torch.full((len(self),), torch.nan)
            truth = (self.labels > 0.5).float()
            return F.binary_cross_entropy_with_logits(self.logits, truth, reduction="none").amax(1)
        known = self._classes >= 0
        logits = (
            self.logits if self.task == "multiclass" else torch.stack([-self.logits[:, 1], 0 * self.logits[:, 1]], 1)
        )
        losses = F.cross_entropy(logits, self._classes.clamp(min=0), reduction="none")
        return torch.where(known, losses, torch.nan)

    @property
    def correct(self) -> Tensor:
        """Whether the model is right, boolean (N,), in multi-label data about every class; False without a label."""
        if self.task == "multilabel":
            return (
                ((self.logits > 0) == (self.labels > 0.5)).all(1)
                if self.labels.ndim == 2
                else torch.zeros(len(self)) > 0
            )
        return self.logits.argmax(1) == self._classes

    def wrong(self) -> Tensor:
        """Return the places of the images that the model is wrong about, int64, the most confidently wrong first."""
        losses = self.losses
        places = (~self.correct & ~losses.isnan()).nonzero().flatten()
        return places[losses[places].argsort(descending=True, stable=True)]

    @property
    def accuracy(self) -> Accuracy | None:
        """Share of the images that the model is right about; None without labels."""
        return accuracy_of(self.correct, self.truth)

    @property
    def truth(self) -> Tensor:
        """What `correct` compares with: classes, int64 (N,), -1 where none; the labels (N, K) of multi-label data."""
        if self.task != "multilabel":
            return self._classes
        return self.labels if self.labels.ndim == 2 else torch.full((len(self),), -1)

    @property
    def _classes(self) -> Tensor:
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)


@dataclass(frozen=True)
class ValidationShare:
    """What one process saw of a validation: first axis n throughout.

    Attributes:
        keys: int64 (n,).
        labels: As a `Sample` holds them; None without.
        rows: What the model returned as logits, (n, K).
        complete: Whether nothing was left out.
    """

    keys: Tensor
    labels: Tensor | None
    rows: Tensor
    complete: bool = True


def joined_shares(shares: Sequence[ValidationShare]) -> ValidationShare:
    """Return the shares of all processes as one, in the order of keys, without repeated images."""
    keys = torch.cat([share.keys for share in shares])
    order = keys.argsort(stable=True)
    keys = keys[order]
    rows = torch.cat([share.rows for share in shares])[order]
    known = [share.labels for share in shares if share.labels is not None]
    labels = torch.cat(known)[order] if len(known) == len(shares) else None
    first = torch.ones(len(keys), dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    if labels is not None:  # equal images of two labels are two
        first[1:] |= (labels[1:] != labels[:-1]).flatten(1).any(1) if labels.ndim == 2 else labels[1:] != labels[:-1]
    complete = all(share.complete for share in shares)
    return ValidationShare(keys[first], None if labels is None else labels[first], rows[first], complete)
