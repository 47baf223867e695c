"""Judge the shortcut alarm at every explanation of a fit, log it as a number, and tell each cause once in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai.callbacks.run_state import RunState
from lightning_xai.loggers.log_alarm import LoggedAlarm, log_alarm
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.shortcut import ShortcutDecision, shortcut_decisions
from lightning_xai.probing.explained import ExplainedEpoch, moment_of
from lightning_xai.probing.keys import ALARM_KEY, Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.shortcut_alarm import ShortcutAlarm

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer


Raised: TypeAlias = dict[str, list[ShortcutDecision]]
"""Full key of an alarm -> the causes that raise it; none where it is not raised."""


def checked_alarm(given: ShortcutAlarm | bool) -> ShortcutAlarm | None:
    """Return the alarm's settings, None where it is off.

    Raises:
        TypeError: If it is neither settings nor a boolean.
    """
    if not isinstance(given, (ShortcutAlarm, bool)):
        raise TypeError(f"Expected `shortcut_alarm` to be a ShortcutAlarm or a boolean, but got {given!r}.")
    if isinstance(given, bool):
        return ShortcutAlarm() if given else None
    return given


def check_judges(given: ShortcutAlarm | bool, plan: Plan) -> None:
    """Raise ValueError if an alarm was asked for by its settings, and no metric has what it judges."""
    if isinstance(given, ShortcutAlarm) and plan.alarm is None:
        raise ValueError(
            "Expected one of `metrics` to have a gain or a localization, because ShortcutAlarm judges these, such as "
            "'insertion_deletion', but got none: name one, or set shortcut_alarm=False."
        )


def with_alarm(epoch: ExplainedEpoch, run: RunState, keys: Keys) -> tuple[ExplainedEpoch, Raised]:
    """Return an epoch of a fit with the value of its alarm, and by key the causes that raise it.

    It follows from the rows of all epochs so far: it is the same on every rank, and after a resume.
    """
    alarm = keys.plan.alarm
    if alarm is None or epoch.stage != "fit":
        return epoch, {}
    so_far = [*(one for one in run.epochs if moment_of(one) < moment_of(epoch)), epoch]
    decided = dict(_decided(so_far, alarm, run, keys))
    raised = {key: [one for one in decisions if one.raised] for key, decisions in decided.items()}
    values = {key: Estimate(float(bool(causes))) for key, causes in raised.items()}
    return replace(epoch, estimates={**epoch.estimates, **values}), raised


def _decided(
    epochs: Sequence[ExplainedEpoch], alarm: ShortcutAlarm, run: RunState, keys: Keys
) -> Iterator[tuple[str, list[ShortcutDecision]]]:
    for loader in epochs[-1].loaders:
        for explainer in keys.plan.explainers:
            key = keys.full(ALARM_KEY.name, explainer=explainer, loader=run.index_in_keys(loader))
            yield key, shortcut_decisions(epochs, alarm, explainer, loader)


def tell_alarms(trainer: Trainer, run: RunState, epoch: ExplainedEpoch, raised: Raised) -> None:
    """Tell each cause once in a run: as a warning, and to the loggers that have a place for words."""
    for key, causes in raised.items():
        for cause in causes:
            if (key, cause.cause) in run.alarms:
                continue
            run.alarms.add((key, cause.cause))
            text = f"{key} in epoch {epoch.epoch}: {cause.reason}."
            rank_zero_warn(
                f"ExplanationMonitor suspects a shortcut, {text} Look at the heatmaps, and at docs/shortcut_alarm.md; "
                "training goes on, and this is said once (shortcut_alarm=False: never)."
            )
            try:
                log_alarm(trainer, LoggedAlarm(key, cause.cause, text, epoch.step))
            except Exception as error:  # a silent server must not end the run
                rank_zero_warn(f"ExplanationMonitor could not tell the shortcut alarm: {error}")
