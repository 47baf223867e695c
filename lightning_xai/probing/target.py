"""Which class of each image is explained, and which of its annotations are of that class."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_count, nearest
from lightning_xai.evidence.case import Case
from lightning_xai.model.classifier import Classifier
from lightning_xai.probing.probe import are_distributions
from lightning_xai.probing.sample import HINT, VOID, Sample

_Top = Literal["top_1", "top_2", "top_3", "top_4", "top_5", "top_6", "top_7", "top_8", "top_9", "top_10"]
TargetRule: TypeAlias = Literal["label", "predicted", "least_probable"] | _Top | int
"""Which class of an image is explained: by name, ``"top_k"`` for that with the k-th largest logit (any k), an index."""

_TOP = re.compile(r"top_([1-9][0-9]*)")


def check_target_rule(target: object) -> None:
    """Raise ValueError or TypeError if ``target`` is no rule; see `Plan`."""
    if isinstance(target, str):
        if not _TOP.fullmatch(target):
            named = ("label", "predicted", "least_probable", "top_2", "top_3")
            if target not in named:
                raise ValueError(
                    "Expected `target` to be one of 'label', 'predicted', 'least_probable', 'top_2', 'top_3', … or the "
                    f"index of a class, but got {target!r}.{nearest(target, named)}"
                )
    else:
        check_count(target, "target", least=0)  # type: ignore[arg-type]


def case_of(
    classifier: Classifier,
    sample: Sample,
    labels: Tensor,
    target: TargetRule,
    *,
    value_range: tuple[float, float] | None = None,
    seed: int = 0,
) -> Case:
    """Return the case of a batch in which a rule says which class of each image is explained; without heatmaps.

    Args:
        classifier: The model.
        sample: Images with what is annotated.
        labels: Class that each image stands for, int64 (N,), -1 where none.
        target: The rule; see `Plan`.
        value_range: Least and greatest value of all images, of which noise is a share; see `Case`.
        seed: Of the random control.

    Raises:
        ValueError: If the labels are to be explained and there are none, or they do not fit the model.
    """
    if target == "label" and sample.labels is None:
        strings = "" if sample.ids is None else ": its strings are taken for names of the images, not for classes"
        raise ValueError(
            f"Expected batches with labels, because target='label' explains them, but found none{strings}. Pass "
            "target='predicted', or `sample_from_batch=`, a function of the batch that returns a Sample."
        )
    classifier = classifier.with_extra(sample.extra) if sample.extra is not None else classifier
    case = Case(classifier, sample.images, value_range=value_range, control_seed=seed, regions=sample.regions)
    _check_columns(sample, case.logits, classifier.task)
    if target == "label":
        labels = known_labels(labels, case.logits.shape[1])
    classes = _targets(target, labels, case.logits, classifier)
    masks, boxes = _annotations(sample, classes, case.logits.shape[1])
    return case.with_heatmaps(target=classes, masks=masks, boxes=boxes)


def known_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels (N,) with -1 where they say that nobody knows: negative, or 255 where that is no class.

    Raises:
        ValueError: If one is no class of the model.
    """
    known = torch.where((labels < 0) | ((labels == VOID) & (num_classes <= VOID)), -1, labels)
    if len(known) and int(known.max()) >= num_classes:
        raise ValueError(
            f"Expected `labels` of the batch to be classes of the model, in [0, {num_classes - 1}], but got "
            f"{int(known.max())}: an index, or another column? {HINT}"
        )
    return known


def _targets(rule: TargetRule, labels: Tensor, logits: Tensor, classifier: Classifier) -> Tensor:
    """Return the explained class; the predicted one for images that stand for no class."""
    probabilities = classifier.probabilities(logits)
    predicted = probabilities.argmax(1)
    if rule == "label":
        return torch.where(labels >= 0, labels, predicted)
    if isinstance(rule, int):
        return torch.full_like(predicted, rule)
    if rule == "least_probable":
        return probabilities.argmin(1)
    return _top(rule, logits) if rule not in {"predicted", "top_1"} else predicted


def _top(rule: str, logits: Tensor) -> Tensor:
    """Return the class with the k-th largest logit; of equal ones the first comes first."""
    place = int(rule.removeprefix("top_"))
    if place > logits.shape[1]:
        raise ValueError(
            f"Expected a model of at least {place} classes for target={rule!r}, but it has {logits.shape[1]}. Pass "
            f"'top_{logits.shape[1]}' at most."
        )
    return logits.argsort(dim=1, descending=True, stable=True)[:, place - 1]


def _check_columns(sample: Sample, logits: Tensor, task: str) -> None:
    """Raise ValueError if labels of several columns do not fit the model's classes or its task."""
    if sample.labels is None or sample.labels.ndim == 1:
        return
    if sample.labels.shape[1] != logits.shape[1]:
        raise ValueError(
            f"Expected `labels` of the batch to have a column per class of the model, {logits.shape[1]}, but got "
            f"{sample.labels.shape[1]}: labels of several tasks? {HINT}"
        )
    if task == "multiclass" and not are_distributions(sample.labels):
        raise ValueError(
            "Expected `labels` of several columns to be distributions over the classes, each row summing to 1, for "
            "task='multiclass', but they are not. Set Readout(task='multilabel') if an image can have several classes."
        )


def _annotations(sample: Sample, target: Tensor, num_classes: int) -> tuple[Tensor | None, Tensor | None]:
    """Return the masks and boxes of each image's explained class; all of them where they have no class."""
    masks, boxes = sample.masks, sample.boxes
    if sample.class_masks is not None and sample.class_masks.shape[1] == num_classes:
        masks = sample.class_masks[torch.arange(len(target), device=target.device), target]
    if boxes is not None and sample.box_labels is not None:
        boxes = torch.where((sample.box_labels == target[:, None])[:, :, None], boxes, torch.nan)
    return masks, boxes
