"""What we assume about a user's model and data, held against what their own validation shows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_xai._lightning import MisconfigurationException
from lightning_xai.model.readout import Readout
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.probing.probe import are_distributions
from lightning_xai.probing.sample import HINT, Sample
from lightning_xai.probing.target import known_labels

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer
    from lightning_xai.callbacks.run.run_state import RunState

_ENOUGH_IMAGES = 4  # whose logits are not in [0, 1] by chance
_WIDE = 0.25
_STAGE = "(?:val|valid|validation|eval|test)"
_TOP = "top[_.@-]?1(?:[_.-]?acc(?:uracy)?)?"
_ACCURACY = f"(?:(?:balanced|macro|micro|mean)[_.-]?)?(?:acc|accuracy)(?:[_.@-]?(?:top[_.-]?)?1)?|{_TOP}"
_NAME = re.compile(
    rf"(?P<before>{_STAGE}[/_.-]?)?(?:multiclass|binary)?(?:{_ACCURACY})(?:[/_.-](?:(?P<after>{_STAGE})|epoch))?",
    re.IGNORECASE,
)
_ERRORS = 4.0  # standard errors that chance may take
_LEAST = 0.1  # a smaller difference is not worth a word


def check_logits(logits: Tensor, task: str, readout: Readout, run: RunState, loader: int) -> None:
    """Hold the logits (N, K) of a whole probe against what probabilities look like.

    What only could be probabilities is said once: when the values spread over more than a quarter of [0, 1], as those
    of a model that tells classes apart do, in two explained validations of a fit in a row, or in one outside a fit.
    Logits of a network that has hardly trained are all small, near each other, and in one column often of one sign;
    later they lie so for a moment at most.

    Raises:
        MisconfigurationException: If they are distributions over the classes.
    """
    raw = logits[:, 1:] if task == "binary" else logits
    is_inside = len(logits) >= _ENOUGH_IMAGES and bool(((raw >= 0) & (raw <= 1)).all())
    in_a_row, run.inside_0_and_1[loader] = run.inside_0_and_1.get(loader, 0) + 1, 0
    if readout.output != "auto" or not is_inside:
        return
    if task == "multiclass" and are_distributions(raw):
        raise MisconfigurationException(
            "Expected the model to return logits, but for all explained images they are probabilities: none is "
            "negative, and each image's sum to 1. Set Readout(output='probability'), or Readout(output='logit') if "
            "these are logits after all."
        )
    if float(raw.max() - raw.min()) > _WIDE:
        run.inside_0_and_1[loader] = in_a_row
    if "logits" not in run.said and run.inside_0_and_1[loader] >= (2 if run.stage == "fit" else 1):
        run.said.add("logits")
        rank_zero_warn(
            "ExplanationMonitor takes what the model returns for logits, though all of it lies in [0, 1]. Set "
            "Readout(output='probability') if these are probabilities, Readout(output='logit') if not."
        )


def check_labels(labels: Sequence[int], num_classes: int, counts: Mapping[int, int]) -> None:
    """Hold what was read as labels against the model's classes.

    Args:
        labels: Of a probe.
        num_classes: Of the model.
        counts: Class -> images of the whole validation, -1 where nobody knows; empty where labels have columns.

    Raises:
        MisconfigurationException: If the labels cannot be classes, or are the signs of two classes.
    """
    try:
        known_labels(torch.tensor(labels), num_classes)
    except ValueError as error:
        raise MisconfigurationException(str(error)) from error
    if num_classes == 2 and set(counts) == {-1, 1}:
        raise MisconfigurationException(
            "Expected labels of two classes to be 0 and 1, but all of the validation's are -1, which says that nobody "
            f"knows, or 1. {HINT} If -1 stands for a class, its labels are `(labels > 0).long()`; if not, leave such "
            "images out."
        )


def warn_of_annotations(task: str, sample: Sample) -> None:
    """Say that localization is scored against annotations whose class nobody knows, where an image has several."""
    if task == "multilabel" and sample.annotated and not sample.has_annotated_classes:
        rank_zero_warn(
            "ExplanationMonitor scores localization against the annotations of all classes, because they do not say "
            "which class they are of: pass boxes with `box_labels`, or masks (N, K, H, W) with a plane per class."
        )


def warn_of_accuracy(
    trainer: Trainer, epoch: ExplainedEpoch, counts: Mapping[int, Mapping[int, int]], said: set[str]
) -> None:
    """Warn once if the model is much better, or worse, on the explained images than the user's own accuracy says.

    Args:
        trainer: Its logged metrics; an accuracy is known by its name, such as ``val_acc``.
        epoch: Explained in the validation that ends.
        counts: Loader's index -> class -> how many images of the validation stand for it.
        said: What was said in this run.
    """
    if epoch.task == "multilabel" or "accuracy" in said:
        return
    for name, value in trainer.callback_metrics.items():
        base, _, index = name.partition("/dataloader_idx_")
        loader = int(index) if index.isdigit() else 0
        if (
            not is_top_1_accuracy(base, epoch.stage)
            or loader not in epoch.loaders
            or (not index and len(epoch.loaders) > 1)
        ):
            continue
        accuracy = float(value) / (100.0 if float(value) > 1.0 else 1.0)
        ranges = plausible_accuracies(epoch.loaders[loader], counts.get(loader, {}))
        if math.isfinite(accuracy) and ranges and all(not low <= accuracy <= high for low, high in ranges):
            said.add("accuracy")
            low, high = ranges[0]
            found = epoch.loaders[loader]
            known = found.labels >= 0
            share = float((found.predicted == found.labels)[known].float().mean())
            rank_zero_warn(
                f"ExplanationMonitor finds {share:.2f} of its {int(known.sum())} images classified rightly, but "
                f"'{name}' is {float(value):.4g}: by chance and the number of images of each class an accuracy of "
                f"{low:.2f} to {high:.2f} could be expected. Is what is explained what validation_step computes? Look "
                "at what the step does to images before the model (Sample, sample_from_batch=), which module it calls "
                "(Readout(forward=)), and whether its logits or labels are others (Readout(logits_from_output=))."
            )
            return


def is_top_1_accuracy(name: str, stage: str) -> bool:
    """Return whether a metric's name is that of a validation's accuracy; in a fit it must say which data it is of."""
    match = _NAME.fullmatch(name)
    return match is not None and (stage != "fit" or bool(match["before"] or match["after"]))


def plausible_accuracies(found: Explained, counts: Mapping[int, int]) -> list[tuple[float, float]]:
    """Return between which ends the accuracy of a whole validation lies, judged by its probe; none without labels.

    The probe is balanced, so each class counts by its share of the validation; a second range is for an accuracy that
    weighs classes equally. Classes without a probe image may be all right or all wrong. Ends are 4 standard errors
    away, those of a few images per class, which are pulled towards one half (Laplace), and at least 0.1.

    Args:
        found: About the probe.
        counts: Class -> images of the validation, -1 for none left out.

    Returns:
        Ranges by the images' and by the classes' weight.
    """
    counts = {label: count for label, count in counts.items() if label >= 0}
    total = sum(counts.values())
    if not total:
        return []
    by_image = {label: count / total for label, count in counts.items()}
    return [_range(found, shares) for shares in (by_image, dict.fromkeys(counts, 1.0 / len(counts)))]


def _range(found: Explained, shares: Mapping[int, float]) -> tuple[float, float]:
    expected = variance = unknown = 0.0
    for label, share in shares.items():
        of_class = found.labels == label
        number = int(of_class.sum())
        if not number:
            unknown += share
            continue
        right = int((found.predicted[of_class] == label).sum())
        smoothed = (right + 1) / (number + 2)
        expected += share * right / number
        variance += share**2 * smoothed * (1.0 - smoothed) / number
    margin = max(_ERRORS * math.sqrt(variance), _LEAST)
    return expected - margin, expected + unknown + margin
