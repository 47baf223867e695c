"""The part of a run's state that checkpoints hold: plain numbers, lists and tensors, checked when they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_xai._checks import check_value_range
from lightning_xai.callbacks.run_state import RunState
from lightning_xai.evidence.heat import LARGEST_KEPT
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing.explained import ERROR, Explained, ExplainedEpoch
from lightning_xai.probing.plan import Plan

Choice = TypeVar("Choice", str, bool)

_VERSION = 2
_PER_IMAGE = ("keys", "labels", "target", "predicted")
_MOST_VALUES = LARGEST_KEPT * LARGEST_KEPT  # of an image
_MOST_IMAGES = 1_000_000
_MOST = 2**63  # of whole numbers
_LONGEST = 200  # letters of a message
_STAGES, _TASKS = ("fit", "validate", "test"), ("multiclass", "binary", "multilabel")


def state_of(run: RunState) -> dict[str, Any]:
    """Return what a resumed run needs; no images, and of past epochs numbers only."""
    probes = {loader: probe.state() for loader, probe in run.probes.items()} or run.restored
    return {
        "version": _VERSION,
        "probes": {str(loader): state for loader, state in probes.items()},
        "epochs": [_epoch_state(epoch) for epoch in run.epochs],
        "last_values": dict(run.last_values),
        "last_epoch": run.last_epoch,
        "last_step": run.last_step,
        "channels_last": run.channels_last,
        "logged": run.logged.state(),
    }


def restore(run: RunState, state: Mapping[str, Any], plan: Plan) -> None:
    """Continue what a checkpoint holds, also one of version 1; probes come back when their images are found again.

    Raises:
        ValueError: If the state is malformed; ``run`` is unchanged then.
    """
    try:
        if state.get("version") == 1:
            epochs = [_epoch_of_version_1(row) for row in _list(state.get("history", []))]
        else:
            epochs = [_epoch(epoch, plan) for epoch in _list(state["epochs"])]
        last_values = {str(name): _finite(value) for name, value in state.get("last_values", {}).items()}
        restored = {_whole(int(loader), 0): _checked_probe(probe) for loader, probe in state.get("probes", {}).items()}
        logged = [_logged(one) for one in _list(state.get("logged", []))]
        last_epoch, last_step = (
            None if state.get(name) is None else _whole(state[name], 0) for name in ("last_epoch", "last_step")
        )
        layout = None if state.get("channels_last") is None else _one_of(state["channels_last"], (True, False))
    except Exception as error:  # a file can hold anything, and whatever reading it raises says that it is no state
        raise ValueError(f"Expected a monitor's state as `state_dict` returns it, but got {_short(error)}.") from error
    run.epochs, run.last_values, run.restored = epochs, last_values, restored
    run.last_epoch, run.last_step, run.channels_last = last_epoch, last_step, layout
    run.logged.restore(logged)


def _logged(state: Any) -> tuple[int, int, dict[str, float]]:
    epoch, step, values = state
    return _whole(epoch, 0), _whole(step, 0), {str(name): _number(value) for name, value in values.items()}


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
        "ids": None if found.ids is None else list(found.ids),
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
    names = _list(state["names"])
    values = _checked(state["values"], len(names), torch.float32, ndim=2, largest=_MOST_IMAGES)
    rows = dict(zip(names, values, strict=True)) | dict(state["wide"].items())
    return {str(name): _checked(one, count, torch.float32) for name, one in rows.items() if name in metrics}


def _epoch(state: Mapping[str, Any], plan: Plan) -> ExplainedEpoch:
    metrics = {**plan.metrics(annotated=False), **plan.metrics(annotated=True)}
    return ExplainedEpoch(
        epoch=_whole(state["epoch"], 0),
        step=_whole(state["step"], 0),
        stage=_one_of(state["stage"], _STAGES),
        task=_one_of(state["task"], _TASKS),
        seconds=_number(state["seconds"]),
        evaluations=_whole(state["evaluations"], 0),
        estimates={
            str(key): Estimate(_number(value), _number(error), _whole(undefined, 0))
            for key, (value, error, undefined) in state["estimates"].items()
        },
        loaders={_whole(int(loader), 0): _explained(found, metrics) for loader, found in state["loaders"].items()},
    )


def _explained(state: Mapping[str, Any], metrics: Mapping[str, ExplanationMetric]) -> Explained:
    count = len(_checked(state["keys"], len(state["keys"]), torch.int64, ndim=1))
    rows = {str(explainer): _rows(by_metric, count, metrics) for explainer, by_metric in state["rows"].items()}
    control = _rows(state["control_rows"], count, metrics)
    scored = {name for by_metric in (*rows.values(), control) for name in by_metric}
    keys, labels, target, predicted = (_checked(state[name], count, torch.int64, ndim=1) for name in _PER_IMAGE)
    return Explained(
        keys,
        labels,
        target,
        predicted,
        probabilities=torch.zeros(count, 0),
        rows=rows,
        control_rows=control,
        metrics={name: metric for name, metric in metrics.items() if name in scored},
        value_range=_range(state.get("value_range")),
        ids=_ids(state.get("ids"), count),
    )


def _ids(ids: Any, count: int) -> list[str] | None:
    if ids is not None and len(ids) != count:
        raise ValueError(f"{len(ids)} ids of {count} images")
    return None if ids is None else [str(one) for one in ids]


def _epoch_of_version_1(row: Mapping[str, Any]) -> ExplainedEpoch:
    """Return an epoch from a row of the history, which is all that version 1 kept of it."""
    keys = [key for key in row if key not in {"epoch", "step"} and not key.endswith(ERROR)]
    estimates = {str(key): Estimate(_number(row[key]), _number(row.get(key + ERROR, torch.nan))) for key in keys}
    return ExplainedEpoch(_whole(row["epoch"], 0), _whole(row["step"], 0), "fit", estimates)


def _checked_probe(state: Mapping[str, Any]) -> dict[str, Any]:
    keys, classes = _list(state["keys"]), _list(state["classes"])
    count, target, asked = len(keys), state["previous_target"], state.get("num_images")
    if len(classes) != count or len(set(zip(keys, classes, strict=True))) != count:
        raise ValueError(f"{count} keys and {len(classes)} classes of a probe")
    previous = {str(name): _checked(maps, count, torch.float16, ndim=3) for name, maps in state["previous"].items()}
    for maps in previous.values():
        if not 0 < min(maps.shape[1:]) <= max(maps.shape[1:]) <= LARGEST_KEPT:
            raise ValueError(f"heatmaps of {tuple(maps.shape)}")
    return {
        "keys": [_whole(key) for key in keys],
        "classes": [_whole(label) for label in classes],
        "previous": previous,
        "previous_target": None if target is None else _checked(target, count, torch.int64, ndim=1),
        "num_images": None if asked is None else _whole(asked, 1),
        "value_range": _range(state.get("value_range")),
    }


def _checked(
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


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST_IMAGES:
        raise TypeError(f"{type(value).__name__} where a list of at most {_MOST_IMAGES} entries was expected")
    return value


def _one_of(value: Any, choices: tuple[Choice, ...]) -> Choice:
    if not isinstance(value, (str, bool)) or value not in choices:
        raise ValueError(f"{value!r} where one of {choices} was expected")
    return value


def _whole(value: Any, least: int = -_MOST) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _MOST:
        raise ValueError(f"{value!r} where a whole number from {least} was expected")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{type(value).__name__} where a number was expected")
    return float(value)


def _finite(value: Any) -> float:
    if not math.isfinite(_number(value)):
        raise ValueError(f"{value} where a finite number was expected")
    return float(value)


def _range(value: Any) -> tuple[float, float] | None:
    return None if value is None else check_value_range(value)


def _short(error: Exception) -> str:
    text = repr(error)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
