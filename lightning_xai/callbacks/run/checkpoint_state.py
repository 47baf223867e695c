"""The part of a run's state that checkpoints hold: plain numbers, lists and tensors, checked when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.evidence.heat import LARGEST_KEPT
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.effort import BudgetChoice, Effort
from lightning_xai.probing.epoch_state import (
    checked_choice,
    checked_finite,
    checked_list,
    checked_number,
    checked_range,
    checked_tensor,
    checked_texts,
    checked_whole,
    epoch_of,
    epoch_state,
)
from lightning_xai.probing.explained import ERROR, ExplainedEpoch
from lightning_xai.probing.plan import Plan

Value = TypeVar("Value")

_VERSION = 2
_LONGEST = 200  # letters of a message


def state_of(run: RunState) -> dict[str, Any]:
    """Return what a resumed run needs; no images, and of past epochs numbers only."""
    probes = {loader: probe.state() for loader, probe in run.probes.items()} or run.restored
    return {
        "version": _VERSION,
        "probes": {str(loader): state for loader, state in probes.items()},
        "epochs": [epoch_state(epoch) for epoch in run.epochs],
        "last_values": dict(run.last_values),
        "last_epoch": run.last_epoch,
        "last_step": run.last_step,
        "channels_last": run.channels_last,
        "grown": run.grown,
        "most_that_fit": run.most_that_fit,
        "time": run.time.state(),
        "choice": None if run.choice is None else _choice_state(run.choice),
        "logged": run.logged.state(),
        "alarms": sorted(list(one) for one in run.alarms),
    }


def restore(run: RunState, state: Mapping[str, Any], plan: Plan) -> None:
    """Continue what a checkpoint holds, also one of version 1; probes come back when their images are found again.

    Raises:
        ValueError: If the state is malformed; ``run`` is unchanged then.
    """
    metrics = {**plan.metrics(annotated=False), **plan.metrics(annotated=True)}
    try:
        if state.get("version") == 1:
            epochs = [_epoch_of_version_1(row) for row in checked_list(state.get("history", []))]
        else:
            epochs = [epoch_of(epoch, metrics) for epoch in checked_list(state["epochs"])]
        last_values = {str(name): checked_finite(value) for name, value in state.get("last_values", {}).items()}
        restored = {
            checked_whole(int(loader), 0): _checked_probe(probe) for loader, probe in state.get("probes", {}).items()
        }
        logged = [_logged(one) for one in checked_list(state.get("logged", []))]
        alarms = {(str(key), str(cause)) for key, cause in checked_list(state.get("alarms", []))}
        last_epoch, last_step = (_if_there(state, name, checked_whole, 0) for name in ("last_epoch", "last_step"))
        grown, most_that_fit = (_if_there(state, name, checked_whole, 1) for name in ("grown", "most_that_fit"))
        layout = _if_there(state, "channels_last", checked_choice, (True, False))
        choice = _if_there(state, "choice", _choice)
        time = state.get("time", {})
        elapsed, explaining = (checked_finite(time.get(name, 0.0)) for name in ("elapsed", "explaining"))
    except Exception as error:  # a file can hold anything, and whatever reading it raises says that it is no state
        raise ValueError(f"Expected a monitor's state as `state_dict` returns it, but got {_short(error)}.") from error
    run.epochs, run.last_values, run.restored = epochs, last_values, restored
    run.last_epoch, run.last_step, run.channels_last = last_epoch, last_step, layout
    run.grown, run.most_that_fit, run.choice = grown, most_that_fit, choice
    run.time.restore(elapsed, explaining)
    run.logged.restore(logged)
    run.alarms = alarms


def _if_there(state: Mapping[str, Any], name: str, checked: Callable[..., Value], *limits: Any) -> Value | None:
    """Return what a state holds under a name, checked; None if nothing."""
    value = state.get(name)
    return None if value is None else checked(value, *limits)


def _choice_state(choice: BudgetChoice) -> dict[str, Any]:
    efforts = {name: vars(effort).copy() for name, effort in (("asked", choice.asked), ("chosen", choice.chosen))}
    return {
        "max_overhead": choice.max_overhead,
        "most_images": choice.most_images,
        "measured": choice.measured,
        **efforts,
    }


def _choice(state: Mapping[str, Any]) -> BudgetChoice:
    asked, chosen = (_effort(state[name]) for name in ("asked", "chosen"))
    most_images = checked_whole(state["most_images"], 1)
    return BudgetChoice(checked_finite(state["max_overhead"]), asked, chosen, most_images, str(state["measured"]))


def _effort(state: Mapping[str, Any]) -> Effort:
    steps = state["every_n_steps"]
    num_images, epochs = (checked_whole(state[name], 1) for name in ("num_images", "every_n_epochs"))
    return Effort(num_images, epochs, None if steps is None else checked_whole(steps, 1))


def _logged(state: Any) -> tuple[int, int, dict[str, float]]:
    epoch, step, values = state
    return (
        checked_whole(epoch, 0),
        checked_whole(step, 0),
        {str(name): checked_number(value) for name, value in values.items()},
    )


def _epoch_of_version_1(row: Mapping[str, Any]) -> ExplainedEpoch:
    """Return an epoch from a row of the history, which is all that version 1 kept of it."""
    keys = [key for key in row if key not in {"epoch", "step"} and not key.endswith(ERROR)]
    estimates = {
        str(key): Estimate(checked_number(row[key]), checked_number(row.get(key + ERROR, torch.nan))) for key in keys
    }
    return ExplainedEpoch(checked_whole(row["epoch"], 0), checked_whole(row["step"], 0), "fit", estimates)


def _checked_probe(state: Mapping[str, Any]) -> dict[str, Any]:
    keys, classes = checked_list(state["keys"]), checked_list(state["classes"])
    count, target, asked = len(keys), state["previous_target"], state.get("num_images")
    groups = checked_texts(state.get("groups"), count)
    if len(classes) != count or len(set(zip(keys, classes, groups or [""] * count, strict=True))) != count:
        raise ValueError(f"{count} keys and {len(classes)} classes of a probe")
    previous = {
        str(name): checked_tensor(maps, count, torch.float16, ndim=3) for name, maps in state["previous"].items()
    }
    for maps in previous.values():
        if not 0 < min(maps.shape[1:]) <= max(maps.shape[1:]) <= LARGEST_KEPT:
            raise ValueError(f"heatmaps of {tuple(maps.shape)}")
    return {
        "keys": [checked_whole(key) for key in keys],
        "classes": [checked_whole(label) for label in classes],
        "groups": groups,
        "previous": previous,
        "previous_target": None if target is None else checked_tensor(target, count, torch.int64, ndim=1),
        "num_images": None if asked is None else checked_whole(asked, 1),
        "value_range": checked_range(state.get("value_range")),
    }


def _short(error: Exception) -> str:
    text = repr(error)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
