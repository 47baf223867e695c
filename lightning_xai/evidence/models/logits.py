"""The model's answer to the unchanged images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.model.classifier import Classifier

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class Logits(Evidence[Tensor]):
    """Logits (N, K) of the unchanged images, shared by everything that reads them."""

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images"})

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, K)."""
        logits = case.classifier.logits(case.images)
        if case.has_target:
            case.classifier.check_classes(logits, case.target)
        return logits

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 1."""
        return 1


@dataclass(frozen=True)
class LoweredLogits(Evidence[Tensor]):
    """The same in ``Readout(precision=...)``, as what a curve begins with: differences are of one kind then."""

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images"})

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, K)."""
        return case.classifier.lowered().logits(case.images)

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 1."""
        return 1


@dataclass(frozen=True)
class BaselineLogits(Evidence[Tensor]):
    """Logits (N, K) of what an attribution starts from.

    Args:
        baseline: See `baseline_images`; noise is the same for all images, as in an explainer.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images"})

    baseline: AnyBaseline = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, K); one image is evaluated for all where they share it."""
        empty = baseline_images(case.images, self.baseline).expand(-1, *case.images.shape[1:])
        if case.classifier.has_extra:
            empty = empty.expand(len(case), -1, -1, -1)  # which each comes with its own
        return case.classifier.logits(empty).expand(len(case), -1)

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 1, which all images of a case share unless each has its own baseline."""
        return 1


def log_odds(classifier: Classifier, logits: Tensor, target: Tensor) -> Tensor:
    """Return ``log f − log(1 − f)`` of each row's class, float32 (N,).

    It orders images as the probability f does, and its gradient points where that of the cross-entropy points, but it
    neither rounds to a constant nor loses its gradient where the model is sure.

    Args:
        classifier: What the logits come from; it knows the task.
        logits: (N, K) as `Classifier.forward` returns them.
        target: int64 (N,).
    """
    chosen = classifier.select(logits, target)
    if classifier.task != "multiclass":
        return chosen
    return chosen - logits.scatter(1, target[:, None], -torch.inf).logsumexp(1)
