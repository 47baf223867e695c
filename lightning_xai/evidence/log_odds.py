"""How sure the model is of a class, without an end to the scale."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.model.classifier import Classifier


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
