"""Judge the shortcut alarm at every explanation of a fit, log it as a number, and tell each cause once in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai.callbacks.run.validation import Validation
from lightning_xai.loggers.log_alarm import LoggedAlarm, log_alarm
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.shortcut import ShortcutDecision, shortcut_decisions
from lightning_xai.probing.explained import ExplainedEpoch, moment_of
from lightning_xai.probing.keys import ALARM_KEY, Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.shortcut_alarm import ShortcutAlarm


@dataclass(frozen=True)
class Alarm:
    """Two steps about an explained validation of a fit.

    Attributes:
        settings: What is judged.
        keys: The names of what is logged.
    """

    settings: ShortcutAlarm
    keys: Keys

    def judge(self, at: Validation) -> None:
        """Give the epoch the value of its alarm, and note the causes that raise it.

        It follows from the rows of all epochs so far: it is the same on every rank, and after a resume.
        """
        if at.epoch.stage != "fit":
            return
        so_far = [*(one for one in at.run.epochs if moment_of(one) < moment_of(at.epoch)), at.epoch]
        for key, decisions in self._decided(so_far, at):
            at.causes[key] = [one for one in decisions if one.raised]
        values = {key: Estimate(float(bool(causes))) for key, causes in at.causes.items()}
        at.epoch = replace(at.epoch, estimates={**at.epoch.estimates, **values})

    def _decided(
        self, epochs: Sequence[ExplainedEpoch], at: Validation
    ) -> Iterator[tuple[str, list[ShortcutDecision]]]:
        for loader in at.epoch.loaders:
            for explainer in self.keys.plan.explainers:
                key = self.keys.full(ALARM_KEY.name, explainer=explainer, loader=at.run.index_in_keys(loader))
                yield key, shortcut_decisions(epochs, self.settings, explainer, loader)

    def tell(self, at: Validation) -> None:
        """Tell each cause once in a run: as a warning, and to the loggers that have a place for words."""
        for key, causes in at.causes.items():
            for cause in causes:
                if (key, cause.cause) in at.run.alarms:
                    continue
                at.run.alarms.add((key, cause.cause))
                text = f"{key} in epoch {at.epoch.epoch}: {cause.reason}."
                rank_zero_warn(
                    f"ExplanationMonitor suspects a shortcut, {text} Look at the heatmaps, and at "
                    "docs/shortcut_alarm.md; training goes on, and this is said once (shortcut_alarm=False: never)."
                )
                try:
                    log_alarm(at.trainer, LoggedAlarm(key, cause.cause, text, at.epoch.step))
                except Exception as error:  # a silent server must not end the run
                    rank_zero_warn(f"ExplanationMonitor could not tell the shortcut alarm: {error}")


def checked_alarm(given: ShortcutAlarm | bool) -> ShortcutAlarm:
    """Return the alarm's settings, the usual ones for True.

    Raises:
        TypeError: If it is neither settings nor a boolean.
    """
    if not isinstance(given, (ShortcutAlarm, bool)):
        raise TypeError(f"Expected `shortcut_alarm` to be a ShortcutAlarm or a boolean, but got {given!r}.")
    return ShortcutAlarm() if isinstance(given, bool) else given


def check_judges(plan: Plan) -> None:
    """Raise ValueError if no metric has what an alarm judges that was asked for by its settings."""
    if plan.alarm is None:
        raise ValueError(
            "Expected one of `metrics` to have a gain or a localization, because ShortcutAlarm judges these, such as "
            "'insertion_deletion', but got none: name one, or set shortcut_alarm=False."
        )
