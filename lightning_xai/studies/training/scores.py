"""How well a network classifies: the scores that papers print beside those of explanations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

_IMAGES_AT_ONCE = 256


def pair_of(batch: Any) -> tuple[Tensor, Tensor]:
    """Return images and labels of a batch: of a dict with ``image`` and ``label``, or of a pair."""
    if isinstance(batch, dict):
        return batch["image"], batch["label"]
    return batch[0], batch[1]


def scores_of(network: nn.Module, data: Any) -> dict[str, float]:
    """Return scores of a classifier on data, each in [0, 1], higher is better.

    Returns:
        ``accuracy``; ``balanced_accuracy``, the mean recall of the classes; ``precision``, ``recall`` and ``f1``,
        means over classes weighted by their number of images; ``auc``, the mean over classes of the area under the
        curve of one against the rest.
    """
    logits, labels = _answers(network, data)
    return scores_of_logits(logits, labels)


def scores_of_logits(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the same of logits (N, C) and labels (N,)."""
    from torchmetrics.functional import classification as scores

    count = logits.shape[1]
    averaged: dict[str, Any] = {"num_classes": count, "average": "weighted"}
    return {
        "accuracy": float((logits.argmax(1) == labels).float().mean()),
        "balanced_accuracy": float(scores.multiclass_recall(logits, labels, num_classes=count, average="macro")),
        "precision": float(scores.multiclass_precision(logits, labels, **averaged)),
        "recall": float(scores.multiclass_recall(logits, labels, **averaged)),
        "f1": float(scores.multiclass_f1_score(logits, labels, **averaged)),
        "auc": float(scores.multiclass_auroc(logits, labels, num_classes=count, average="macro")),
    }


def _answers(network: nn.Module, data: Any) -> tuple[Tensor, Tensor]:
    was_training = network.training
    network.eval()
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        found = [(network(images.to(device)).float().cpu(), labels) for images, labels in _batches(data)]
    network.train(was_training)
    return torch.cat([logits for logits, _ in found]), torch.cat([labels for _, labels in found])


def _batches(data: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in DataLoader(data, batch_size=_IMAGES_AT_ONCE):
        yield pair_of(batch)
