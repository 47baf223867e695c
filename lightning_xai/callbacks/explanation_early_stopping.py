"""Early stopping on explanations: on differences paired image by image, instead of on one noisy mean."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai._checks import check_at_least, check_choice, check_count, nearest
from lightning_xai._lightning import EarlyStopping, check_installed, loaded
from lightning_xai.callbacks.readings import (
    check_logged,
    decides_at_epoch_end,
    explained_epochs,
    monitor_of,
    rows_behind,
)
from lightning_xai.callbacks.run.logged_beside import LoggedBeside
from lightning_xai.probing.decisions.paired import Explanation, Mode, Monitored
from lightning_xai.probing.decisions.stopping import LEAST_PREVIOUS, StopDecision, has_fallen, has_no_gain
from lightning_xai.probing.explained import Moment, moment_of

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ExplanationEarlyStopping(EarlyStopping):
    """Stop training when explanations fall, or no longer get better, by more than chance explains.

    It needs an `ExplanationMonitor` in the same Trainer and compares its explanations image by image, with the standard
    error of the paired difference. Validations without an explanation do not count, so ``patience`` needs no factor
    for ``every_n_epochs``. After a change of the probe comparisons start anew.

    - ``rule="fall"``: stop when the score lies more than two paired standard errors below the mean, image by image, of
      the explanations before it (three or more), ``patience`` times in a row. Those that have fallen do not enter the
      mean while the fall goes on. A guard: it lets a run go on as long as its explanations hold.
    - ``rule="no_gain"``: stop when ``patience`` explanations in a row are no improvement: do not exceed the best one by
      more than ``min_delta``. Explanation scores saturate before accuracy does: name what has to be reached first in
      ``only_if``.

    ``docs/stopping_and_choosing.md`` says how often chance alone stops a run. The decision is a function of the
    monitor's history: the same on every rank and after a resume. ``decision`` and ``stopping_reason_message`` tell it.

    Args:
        monitor: A key of the monitor that has values per image, such as ``"xai/faithfulness_gain"``.
        rule: ``"fall"`` or ``"no_gain"``.
        patience: Number of explanations in a row.
        min_delta: Of ``"no_gain"``: what the paired difference to the best explanation has to exceed; its own standard
            error (``"se"``), or a number.
        only_if: Logged metrics and what they have to be for an explanation to count: a number is the least value, a
            pair such as ``("<", 0.3)`` compares otherwise. Explanations made while it does not hold are left out: they
            neither count nor are compared with.
        num_previous: Of ``"fall"``: of how many explanations before it the mean is, the latest, at least 3; of all if
            None.
        mode: Whether the best value is the least or the greatest; the metric's own direction if ``"auto"``.
        verbose: Tell every decision, not only that to stop.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or does not belong to the rule.
        MisconfigurationException: At the start of a run without a monitor, or with a key that has no values per image;
            after the first validation, if a metric in ``only_if`` was not logged.

    Example:
        >>> import lightning as L
        >>> from lightning_xai import ExplanationMonitor
        >>> guard = ExplanationEarlyStopping()
        >>> stop = ExplanationEarlyStopping(rule="no_gain", patience=5, only_if={"val_accuracy": 0.8})
        >>> trainer = L.Trainer(callbacks=[ExplanationMonitor(), guard, stop], logger=False)
    """

    counts_explanations: ClassVar[bool] = True

    def __init__(
        self,
        monitor: str = "xai/faithfulness_gain",
        rule: Literal["fall", "no_gain"] = "fall",
        patience: int = 3,
        min_delta: float | Literal["se"] = "se",
        only_if: Mapping[str, float | tuple[Literal["<", "<=", ">", ">="], float]] | None = None,
        num_previous: int | None = None,
        mode: Mode = "auto",
        verbose: bool = False,
    ) -> None:
        check_choice(rule, ("fall", "no_gain"), "rule")
        check_choice(mode, ("auto", "min", "max"), "mode")
        check_count(patience, "patience")
        if min_delta != "se":
            check_at_least(min_delta, 0.0, "min_delta")
        if num_previous is not None:
            check_count(num_previous, "num_previous", least=LEAST_PREVIOUS)
        if rule == "fall" and min_delta != "se":
            raise ValueError(f"Expected `min_delta` with rule='no_gain' only, but got {min_delta} with rule='fall'.")
        if rule == "no_gain" and num_previous is not None:
            raise ValueError(f"Expected `num_previous` with rule='fall' only, but got {num_previous} with 'no_gain'.")
        check_installed()
        # what Lightning's own constructor sets, as far as it means something here; it may not be imported yet
        self.monitor, self.patience, self.verbose = monitor, patience, verbose
        self.mode = "min" if mode == "min" else "max"
        self.rule = rule
        self.min_delta = min_delta  # type: ignore[assignment]
        self.only_if = {} if only_if is None else dict(only_if)
        self.num_previous = num_previous
        self.decision: StopDecision | None = None
        self.wait_count, self.stopped_epoch = 0, 0
        self.stopping_reason_message: str | None = None
        self._given_mode = mode
        self._conditions = {name: _condition(name, wanted) for name, wanted in self.only_if.items()}
        self._monitored: Monitored | None = None
        self._logged = LoggedBeside()
        self._told: Moment | None = None
        self._resumed, self._is_fit = False, True

    @property
    def state_key(self) -> str:
        """Name of the state in checkpoints, so that one of each rule and key keep apart."""
        told = {"monitor": self.monitor, "rule": self.rule}
        return f"{type(self).__qualname__}{told!r}"  # as Lightning writes them

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run cannot learn from the monitor's history: what was logged beside it."""
        return {
            "logged": self._logged.state(),
            "stopped_epoch": self.stopped_epoch,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; the decision itself follows from the history that the monitor restores.

        `validate` and `test` with a checkpoint leave alone what a fit has decided.
        """
        if not self._is_fit:
            return
        try:
            self._logged.restore(state_dict["logged"])
            self.stopped_epoch = int(state_dict["stopped_epoch"])
            self.stopping_reason_message = state_dict["stopping_reason_message"]
            self._resumed = True
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            rank_zero_warn(
                f"ExplanationEarlyStopping starts afresh, because its state in the checkpoint cannot be read: {error!r}"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Find the monitor and what stands behind its key, before training."""
        self._is_fit = stage == "fit"
        if not self._is_fit:
            return
        self._monitored = rows_behind(trainer, self.monitor, self._given_mode, self)
        self.mode = "max" if self._monitored.sign > 0 else "min"
        if trainer.global_step == 0:  # a new fit, unless a checkpoint is loaded next
            self._logged, self._told, self.decision = LoggedBeside(), None, None
            self.stopped_epoch, self.wait_count = 0, 0
            self.stopping_reason, self.stopping_reason_message = _reason("NOT_STOPPED"), None

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Warn of a metric in ``only_if`` that looks misspelt; it may still be logged while training."""
        names = sorted(trainer.callback_metrics)
        for name in self._conditions:
            if name not in names and (hint := nearest(name, names, cutoff=0.8)):
                rank_zero_warn(f"ExplanationEarlyStopping(only_if={{{name!r}: …}}) names no metric so far.{hint}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """After a resume, end what was to end: the run may have been interrupted before it did."""
        epochs = explained_epochs(monitor_of(trainer, self.monitor, self))
        # an epoch that is still to be ended by Lightning is judged then
        if self._resumed and epochs and epochs[-1].epoch < trainer.current_epoch:
            self._run_early_stopping_check(trainer)
        self._resumed = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note what was logged beside an explanation; decide, unless metrics of the epoch are still to come."""
        if _rests(trainer):
            return
        self._logged.begin(explained_epochs(monitor_of(trainer, self.monitor, self)))
        self._logged.note(trainer, self._conditions.__contains__)
        if not decides_at_epoch_end(trainer):
            self._run_early_stopping_check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Decide on the last explanation, now that all metrics of the epoch are final."""
        if _rests(trainer) or not decides_at_epoch_end(trainer):
            return
        self._logged.note(trainer, self._conditions.__contains__)
        self._run_early_stopping_check(trainer)

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        epochs = explained_epochs(monitor_of(trainer, self.monitor, self))
        if not epochs or trainer.fast_dev_run:  # type: ignore[union-attr]
            return
        newest = moment_of(epochs[-1])
        if newest == self._logged.now:
            check_logged(self._conditions, self._logged.by_moment[newest], "only_if", trainer, self)
        self.decision = self._decided([epoch for epoch in epochs if self._counts(moment_of(epoch))])
        self.wait_count = self.decision.in_a_row
        # every rank has the same history and conditions; should one differ all the same, they stop together
        stop = trainer.strategy.reduce_boolean_decision(self.decision.stop, all=False)
        trainer.should_stop = trainer.should_stop or stop
        if stop:
            self.stopped_epoch = newest[0]
            self.stopping_reason = _reason("PATIENCE_EXHAUSTED")
            self.stopping_reason_message = f"{self.monitor} {self.decision.reason}"
        if newest != self._told and (stop or self.verbose):
            ending = ": training stops." if stop else "."
            rank_zero_info(f"ExplanationEarlyStopping: {self.monitor} {self.decision.reason}{ending}")
        self._told = newest

    def _decided(self, epochs: list[Any]) -> StopDecision:
        if self._monitored is None:
            raise RuntimeError("Expected a decision after `setup`, in a Trainer's fit, but there was none.")
        scored = ((epoch, self._monitored.of(epoch)) for epoch in epochs)
        explanations = [Explanation(epoch.epoch, scores) for epoch, scores in scored if scores is not None]
        sign = self._monitored.sign
        if self.rule == "fall":
            return has_fallen(explanations, patience=self.patience, num_previous=self.num_previous, sign=sign)
        min_delta: Any = self.min_delta
        return has_no_gain(explanations, patience=self.patience, min_delta=min_delta, sign=sign)

    def _counts(self, moment: Moment) -> bool:
        values = self._logged.by_moment.get(moment, {})
        return all(one.holds(values.get(name)) for name, one in self._conditions.items())


@dataclass(frozen=True)
class _Condition:
    """What a logged metric has to be."""

    comparison: str
    limit: float

    def holds(self, value: float | None) -> bool:
        # metrics are logged as float32, in which 0.7 is less than Python's
        return value is not None and _COMPARE[self.comparison](_as_logged(value), _as_logged(self.limit))


def _condition(name: object, wanted: object) -> _Condition:
    comparison, limit = wanted if isinstance(wanted, (tuple, list)) and len(wanted) == 2 else (">=", wanted)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or comparison not in _COMPARE:
        raise ValueError(
            f"Expected `only_if[{name!r}]` to be the least value, such as 0.8, or a pair such as ('<', 0.3), with one "
            f"of {', '.join(_COMPARE)}, but got {wanted!r}."
        )
    return _Condition(comparison, float(limit))


def _rests(trainer: Trainer) -> bool:
    return trainer.state.fn != "fit" or trainer.sanity_checking


def _reason(name: str) -> Any:
    """Return Lightning's own word for why a run stopped, of a package that is imported."""
    return getattr(loaded("callbacks.early_stopping.EarlyStoppingReason")[0], name)


def _as_logged(number: float) -> float:
    return torch.tensor(number, dtype=torch.float32).item()
