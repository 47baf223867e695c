"""An explained epoch as plain numbers, lists and tensors, as checkpoints and files hold it; checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_xai._checks import check_value_range
from lightning_xai.evidence.heat import LARGEST_KEPT
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.probing.validation import Accuracy

Choice = TypeVar("Choice", str, bool)

_PER_IMAGE = ("keys", "labels", "target", "predicted")
_MOST_VALUES = LARGEST_KEPT * LARGEST_KEPT  # of an image
_MOST_IMAGES = 1_000_000
_MOST = 2**63  # of whole numbers
_STAGES, _TASKS = ("fit", "validate", "test"), ("multiclass", "binary", "multilabel")


def epoch_state(epoch: ExplainedEpoch) -> dict[str, Any]:
    """Return an epoch as it can be stored: plain numbers, strings, lists, and tensors, which are copies.

    Heatmaps and probabilities are in it unless the epoch holds `numbers_only`; see `epoch_of`.
    """
    return {
        "epoch": epoch.epoch,
        "step": epoch.step,
        "stage": epoch.stage,
        "task": epoch.task,
        "seconds": epoch.seconds,
        "evaluations": epoch.evaluations,
        "checkpoint": epoch.checkpoint,
        "estimates": {key: [one.value, one.error, one.undefined] for key, one in epoch.estimates.items()},
        "loaders": {str(loader): _explained_state(found) for loader, found in epoch.loaders.items()},
    }


def epoch_of(state: Mapping[str, Any], metrics: Mapping[str, ExplanationMetric]) -> ExplainedEpoch:
    """Return the epoch of a state.

    Args:
        state: As `epoch_state` returned it, or anything that a file held.
        metrics: By name, those whose rows are wanted; others are left out.

    Raises:
        Exception: If the state is malformed; which one says little, the message what was wrong.
    """
    return ExplainedEpoch(
        epoch=checked_whole(state["epoch"], 0),
        step=checked_whole(state["step"], 0),
        stage=checked_choice(state["stage"], _STAGES),
        task=checked_choice(state["task"], _TASKS),
        seconds=checked_number(state["seconds"]),
        evaluations=checked_whole(state["evaluations"], 0),
        checkpoint=None if state.get("checkpoint") is None else str(state["checkpoint"]),
        estimates={
            str(key): Estimate(checked_number(value), checked_number(error), checked_whole(undefined, 0))
            for key, (value, error, undefined) in state["estimates"].items()
        },
        loaders={
            checked_whole(int(loader), 0): _explained(found, metrics) for loader, found in state["loaders"].items()
        },
    )


def _explained_state(found: Explained) -> dict[str, Any]:
    of_heatmaps = {
        "heatmaps": {name: maps.clone() for name, maps in found.heatmaps.items()},
        "peaks": {name: peaks.clone() for name, peaks in found.peaks.items()},
        "probabilities": found.probabilities.clone(),
    }
    return {
        **{name: getattr(found, name).clone() for name in _PER_IMAGE},
        **(of_heatmaps if found.heatmaps else {}),
        "rows": {explainer: _rows_state(by_metric) for explainer, by_metric in found.rows.items()},
        "control_rows": _rows_state(found.control_rows),
        "value_range": None if found.value_range is None else list(found.value_range),
        "ids": None if found.ids is None else list(found.ids),
        "heat_shares": {name: _rows_state(rows) for name, rows in found.heat_shares.items()},
        "chance_shares": {name: _rows_state(rows) for name, rows in found.chance_shares.items()},
        "accuracy": None if found.accuracy is None else list(astuple(found.accuracy)),
        "groups": None if found.groups is None else list(found.groups),
    }


def _rows_state(by_metric: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the rows of all metrics with one number per image as one tensor: a checkpoint holds many epochs."""
    single = {name: rows for name, rows in by_metric.items() if rows.ndim == 1}
    return {
        "names": list(single),
        "values": torch.stack(list(single.values())) if single else torch.zeros(0, 0),
        "wide": {name: rows.clone() for name, rows in by_metric.items() if rows.ndim > 1},
    }


def _rows(state: Mapping[str, Any], count: int, metrics: Mapping[str, ExplanationMetric]) -> dict[str, Tensor]:
    """Return the rows in the order of the metrics; those of metrics that are asked for no longer are left out."""
    rows = _unchecked(state)
    return {name: checked_tensor(rows[name], count, torch.float32) for name in metrics if name in rows}


def _unchecked(state: Mapping[str, Any]) -> dict[str, Any]:
    names = checked_list(state["names"])
    values = checked_tensor(state["values"], len(names), torch.float32, ndim=2, largest=_MOST_IMAGES)
    rows = dict(zip(names, values, strict=True)) | dict(state["wide"].items())
    return {str(name): one for name, one in rows.items()}


def _shares(state: Mapping[str, Any], count: int) -> dict[str, dict[str, Tensor]]:
    """Return what the shortcut alarm asked; empty of a run without one."""
    return {
        str(outer): {area: checked_tensor(one, count, torch.float32, ndim=1) for area, one in _unchecked(rows).items()}
        for outer, rows in state.items()
    }


def _accuracy(state: Any) -> Accuracy | None:
    if state is None:
        return None
    value, count, most_frequent = state
    if not 0.0 <= checked_finite(value) <= 1.0:
        raise ValueError(f"an accuracy of {value}")
    return Accuracy(float(value), checked_whole(count, 1), checked_finite(most_frequent))


def _explained(state: Mapping[str, Any], metrics: Mapping[str, ExplanationMetric]) -> Explained:
    count = len(checked_tensor(state["keys"], len(state["keys"]), torch.int64, ndim=1))
    rows = {str(explainer): _rows(by_metric, count, metrics) for explainer, by_metric in state["rows"].items()}
    control = _rows(state["control_rows"], count, metrics)
    scored = {name for by_metric in (*rows.values(), control) for name in by_metric}
    keys, labels, target, predicted = (checked_tensor(state[name], count, torch.int64, ndim=1) for name in _PER_IMAGE)
    return Explained(
        keys,
        labels,
        target,
        predicted,
        probabilities=_probabilities(state, count),
        rows=rows,
        control_rows=control,
        metrics={name: metric for name, metric in metrics.items() if name in scored},
        value_range=checked_range(state.get("value_range")),
        ids=checked_texts(state.get("ids"), count),
        groups=checked_texts(state.get("groups"), count),
        accuracy=_accuracy(state.get("accuracy")),
        heat_shares=_shares(state.get("heat_shares", {}), count),
        chance_shares=_shares(state.get("chance_shares", {}), count),
        heatmaps=_of_explainers(state.get("heatmaps", {}), count, torch.float16, ndim=3),
        peaks=_of_explainers(state.get("peaks", {}), count, torch.float32, ndim=1),
    )


def _probabilities(state: Mapping[str, Any], count: int) -> Tensor:
    if "probabilities" not in state:
        return torch.zeros(count, 0)
    return checked_tensor(state["probabilities"], count, torch.float32, ndim=2, largest=_MOST_IMAGES)


def _of_explainers(state: Mapping[str, Any], count: int, dtype: torch.dtype, ndim: int) -> dict[str, Tensor]:
    return {str(name): checked_tensor(one, count, dtype, ndim=ndim) for name, one in state.items()}


def checked_texts(texts: Any, count: int) -> list[str] | None:
    """Return an id, or a group, of each image, if there are as many of them; None for None."""
    if texts is not None and len(texts) != count:
        raise ValueError(f"{len(texts)} texts of {count} images")
    return None if texts is None else [str(one) for one in texts]


def checked_tensor(
    tensor: Any, count: int, dtype: torch.dtype, ndim: int | None = None, largest: int = _MOST_VALUES
) -> Tensor:
    """Return ``tensor`` if it is one with so many rows, of the dtype, and as large in memory as it says."""
    if (
        not isinstance(tensor, Tensor)
        or tensor.layout != torch.strided
        or tensor.device.type != "cpu"
        or tensor.dtype != dtype
        or ndim not in {None, tensor.ndim}
        or len(tensor) != count
    ):
        came = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{came} where {dtype} with {count} rows was expected")
    # one that expands a few values in memory would be copied whole
    if count > _MOST_IMAGES or tensor[:1].numel() > largest or not tensor.is_contiguous():
        raise ValueError(f"a tensor of {tuple(tensor.shape)}")
    return tensor.detach()


def checked_list(value: Any) -> list[Any]:
    """Return ``value`` if it is a list that is not too long."""
    if not isinstance(value, list) or len(value) > _MOST_IMAGES:
        raise TypeError(f"{type(value).__name__} where a list of at most {_MOST_IMAGES} entries was expected")
    return value


def checked_choice(value: Any, choices: tuple[Choice, ...]) -> Choice:
    """Return ``value`` if it is one of the choices."""
    if not isinstance(value, (str, bool)) or value not in choices:
        raise ValueError(f"{value!r} where one of {choices} was expected")
    return value


def checked_whole(value: Any, least: int = -_MOST) -> int:
    """Return ``value`` if it is a whole number from ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _MOST:
        raise ValueError(f"{value!r} where a whole number from {least} was expected")
    return value


def checked_number(value: Any) -> float:
    """Return ``value`` if it is a number, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{type(value).__name__} where a number was expected")
    return float(value)


def checked_finite(value: Any) -> float:
    """Return ``value`` if it is a finite number, as a float."""
    if not math.isfinite(checked_number(value)):
        raise ValueError(f"{value} where a finite number was expected")
    return float(value)


def checked_range(value: Any) -> tuple[float, float] | None:
    """Return ``value`` if it is None, or two numbers of which the second is greater."""
    return None if value is None else check_value_range(value)
