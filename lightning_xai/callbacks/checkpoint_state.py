"""The part of a run's state that checkpoints hold: plain numbers, lists and tensors, checked when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_value_range
from lightning_xai.callbacks.run_state import RunState
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing.explained import ERROR, Explained, ExplainedEpoch
from lightning_xai.probing.plan import Plan

_VERSION = 2
_PER_IMAGE = ("keys", "labels", "target", "predicted")
_MOST_VALUES = 56 * 56  # of an image: the largest heatmap that is kept between epochs


def state_of(run: RunState) -> dict[str, Any]:
    """Return what a resumed run needs; no images, and of past epochs numbers only."""
    probes = {loader: probe.state() for loader, probe in run.probes.items()} or run.restored
    return {
        "version": _VERSION,
        "probes": {str(loader): state for loader, state in probes.items()},
        "epochs": [_epoch_state(epoch) for epoch in run.epochs],
        "last_values": dict(run.last_values),
        "last_epoch": run.last_epoch,
    }


def restore(run: RunState, state: Mapping[str, Any], plan: Plan) -> None:
    """Continue what a checkpoint holds, also one of version 1; probes come back when their images are found again.

    Raises:
        ValueError: If the state is malformed; ``run`` is unchanged then.
    """
    try:
        if state.get("version") == 1:
            epochs = [_epoch_of_version_1(row) for row in state.get("history", [])]
        else:
            epochs = [_epoch(epoch, plan) for epoch in state["epochs"]]
        last_values = {str(name): float(value) for name, value in state.get("last_values", {}).items()}
        restored = {int(loader): _checked_probe(probe) for loader, probe in state.get("probes", {}).items()}
        last_epoch = state.get("last_epoch")
        last_epoch = None if last_epoch is None else int(last_epoch)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"Expected a monitor's state as `state_dict` returns it, but got {error!r}.") from error
    run.epochs, run.last_values, run.restored, run.last_epoch = epochs, last_values, restored, last_epoch


def _epoch_state(epoch: ExplainedEpoch) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "step": epoch.step,
        "stage": epoch.stage,
        "task": epoch.task,
        "seconds": epoch.seconds,
        "evaluations": epoch.evaluations,
        "estimates": {key: [one.value, one.error, one.undefined] for key, one in epoch.estimates.items()},
        "loaders": {str(loader): _explained_state(found) for loader, found in epoch.loaders.items()},
    }


def _explained_state(found: Explained) -> dict[str, Any]:
    return {
        **{name: getattr(found, name).clone() for name in _PER_IMAGE},
        "rows": {explainer: _rows_state(by_metric) for explainer, by_metric in found.rows.items()},
        "control_rows": _rows_state(found.control_rows),
        "value_range": None if found.value_range is None else list(found.value_range),
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
    """Return the rows by metric; those of metrics that are asked for no longer are left out."""
    names, values = list(state["names"]), state["values"]
    rows = dict(zip(names, _checked(values, len(names), torch.float32), strict=True)) | dict(state["wide"])
    return {str(name): _checked(one, count, torch.float32) for name, one in rows.items() if name in metrics}


def _epoch(state: Mapping[str, Any], plan: Plan) -> ExplainedEpoch:
    metrics = {**plan.metrics(annotated=False), **plan.metrics(annotated=True)}
    return ExplainedEpoch(
        epoch=int(state["epoch"]),
        step=int(state["step"]),
        stage=str(state["stage"]),
        task=str(state["task"]),
        seconds=float(state["seconds"]),
        evaluations=int(state["evaluations"]),
        estimates={
            str(key): Estimate(float(value), float(error), int(undefined))
            for key, (value, error, undefined) in state["estimates"].items()
        },
        loaders={int(loader): _explained(found, metrics) for loader, found in state["loaders"].items()},
    )


def _explained(state: Mapping[str, Any], metrics: Mapping[str, ExplanationMetric]) -> Explained:
    count = len(state["keys"])
    rows = {str(explainer): _rows(by_metric, count, metrics) for explainer, by_metric in state["rows"].items()}
    control = _rows(state["control_rows"], count, metrics)
    scored = {name for by_metric in (*rows.values(), control) for name in by_metric}
    keys, labels, target, predicted = (_checked(state[name], count, torch.int64) for name in _PER_IMAGE)
    return Explained(
        keys,
        labels,
        target,
        predicted,
        probabilities=torch.zeros(count, 0),
        rows=rows,
        control_rows=control,
        metrics={name: metric for name, metric in metrics.items() if name in scored},
        value_range=None if state.get("value_range") is None else check_value_range(state["value_range"]),
    )


def _epoch_of_version_1(row: Mapping[str, Any]) -> ExplainedEpoch:
    """Return an epoch from a row of the history, which is all that version 1 kept of it."""
    keys = [key for key in row if key not in {"epoch", "step"} and not key.endswith(ERROR)]
    estimates = {key: Estimate(float(row[key]), float(row.get(key + ERROR, torch.nan))) for key in keys}
    return ExplainedEpoch(int(row["epoch"]), int(row["step"]), "fit", estimates)


def _checked_probe(state: Mapping[str, Any]) -> dict[str, Any]:
    count = len(state["keys"])
    if len(state["classes"]) != count:
        raise ValueError(f"{count} keys and {len(state['classes'])} classes of a probe")
    previous = {str(name): _checked(maps, count, torch.float16, ndim=3) for name, maps in state["previous"].items()}
    target = state["previous_target"]
    return {
        "keys": [int(key) for key in state["keys"]],
        "classes": [int(label) for label in state["classes"]],
        "previous": previous,
        "previous_target": None if target is None else _checked(target, count, torch.int64),
    }


def _checked(tensor: Any, count: int, dtype: torch.dtype, ndim: int | None = None) -> Tensor:
    """Return ``tensor`` if it is one with a row per image, of the dtype and not larger than it can be."""
    if (
        not isinstance(tensor, Tensor)
        or tensor.dtype != dtype
        or len(tensor) != count
        or ndim not in {None, tensor.ndim}
    ):
        came = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{came} where {dtype} with {count} rows was expected")
    if tensor[:1].numel() > _MOST_VALUES:
        raise ValueError(f"a tensor of {tuple(tensor.shape)}")
    checked: Tensor = tensor
    return checked
