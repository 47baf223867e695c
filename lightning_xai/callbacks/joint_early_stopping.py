"""Early stopping on several metrics: training goes on as long as one of them gets better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai._checks import check_at_least, check_choice, check_count, nearest
from lightning_xai._lightning import Callback, MisconfigurationException, check_installed
from lightning_xai.callbacks.readings import decides_at_epoch_end

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer

_MODES = ("min", "max")


class JointEarlyStopping(Callback):
    """Stop training when none of several logged metrics has got better for ``patience`` checks in a row.

    One check is one epoch, or one validation where there are several in an epoch or epochs without one, as of
    Lightning's `EarlyStopping`. Each metric is compared with its own best value so far; as soon as one is better than
    that by more than its ``min_delta``, the count begins anew. So the loss may rise for a while if the recall of the
    classes that matter still does, too.

    Every rank stops if one decides to, so that metrics which are not reduced over ranks cannot part them. Best values
    and the count are in checkpoints.

    Args:
        monitors: Name of a logged metric -> whether the best value is the least (``"min"``) or the greatest
            (``"max"``), such as ``{"val_loss": "min", "val_recall": "max"}``.
        patience: Number of checks in a row without any improvement.
        min_delta: By how much a value has to be better to count, at least 0; a number for all, or one by name, 0 for
            those that are not named.
        check_finite: Whether to stop at once when a metric is NaN or infinite; otherwise that is no improvement.
        verbose: Tell every check, not only that to stop.

    Attributes:
        best: Best value of each metric so far.
        wait_count: Checks since the last improvement.
        stopped_epoch: Epoch in which training was stopped, 0 if it was not.
        stopping_reason_message: Why, in words; None if it was not.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there is no metric, a mode is neither of the two, or a number is out of range.
        MisconfigurationException: At the first check, if one of the metrics was not logged.

    Example:
        >>> import lightning as L
        >>> stop = JointEarlyStopping({"val_loss": "min", "val_recall": "max"}, patience=7)
        >>> trainer = L.Trainer(callbacks=[stop], logger=False)
    """

    def __init__(
        self,
        monitors: Mapping[str, Literal["min", "max"]],
        patience: int = 3,
        min_delta: float | Mapping[str, float] = 0.0,
        check_finite: bool = True,
        verbose: bool = False,
    ) -> None:
        self.monitors = _checked_monitors(monitors)
        check_count(patience, "patience")
        deltas = dict(min_delta) if isinstance(min_delta, Mapping) else dict.fromkeys(self.monitors, min_delta)
        for name, delta in deltas.items():
            check_choice(name, tuple(self.monitors), "min_delta")
            check_at_least(delta, 0.0, "min_delta")
        check_installed()
        self.patience, self.min_delta = patience, min_delta
        self.check_finite, self.verbose = check_finite, verbose
        self._deltas = {name: float(deltas.get(name, 0.0)) for name in self.monitors}
        self.stopping_reason_message: str | None = None
        self._is_fit = True
        self._begin()

    @property
    def state_key(self) -> str:
        """Name of the state in checkpoints, so that those of other metrics keep apart."""
        return f"{type(self).__qualname__}{self.monitors!r}"

    def state_dict(self) -> dict[str, Any]:
        """Return best values and the count."""
        return {
            "best": dict(self.best),
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; `validate` and `test` with one leave alone what a fit has decided."""
        if not self._is_fit:
            return
        try:
            best = {name: float(state_dict["best"][name]) for name in self.monitors}
            waited, stopped = int(state_dict["wait_count"]), int(state_dict["stopped_epoch"])
            message = state_dict["stopping_reason_message"]
        except (KeyError, TypeError, ValueError) as error:
            rank_zero_warn(
                f"JointEarlyStopping starts afresh, because its state in the checkpoint cannot be read: {error!r}"
            )
            return
        self.best, self.wait_count, self.stopped_epoch = best, waited, stopped
        self.stopping_reason_message = message

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Begin anew in a new fit; a checkpoint is loaded after this."""
        self._is_fit = stage == "fit"
        if self._is_fit and trainer.global_step == 0:
            self._begin()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Check, unless metrics of the epoch are still to come."""
        if not decides_at_epoch_end(trainer):
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Check, now that all metrics of the epoch are final."""
        if decides_at_epoch_end(trainer):
            self._check(trainer)

    def _begin(self) -> None:
        self.best = {name: math.inf if mode == "min" else -math.inf for name, mode in self.monitors.items()}
        self.wait_count, self.stopped_epoch, self.stopping_reason_message = 0, 0, None

    def _check(self, trainer: Trainer) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[union-attr]
            return
        decision = judged(self._logged(trainer), self.best, self.monitors, self._deltas)
        self.best = decision.best
        self.wait_count = 0 if decision.improved else self.wait_count + 1
        wants_stop = self.wait_count >= self.patience or (self.check_finite and bool(decision.not_finite))
        # a rank that has seen other values must not wait for the others in vain
        stop = trainer.strategy.reduce_boolean_decision(wants_stop, all=False)
        trainer.should_stop = trainer.should_stop or stop
        reason = self._reason(decision)
        if stop:
            self.stopped_epoch, self.stopping_reason_message = trainer.current_epoch, reason
        if stop or self.verbose:
            rank_zero_info(f"JointEarlyStopping: {reason}{': training stops.' if stop else '.'}")

    def _logged(self, trainer: Trainer) -> dict[str, float]:
        names = sorted(trainer.callback_metrics)
        for name in self.monitors:
            if name not in names:
                raise MisconfigurationException(
                    f"Expected `monitors` of JointEarlyStopping to name metrics that are logged, but got {name!r}, and "
                    f"there are: {', '.join(names) or 'none'}.{nearest(name, names)} Log it in `validation_step`: "
                    f"self.log({name!r}, value)."
                )
        return {name: float(trainer.callback_metrics[name]) for name in self.monitors}

    def _reason(self, decision: Judgement) -> str:
        if decision.not_finite:
            return f"{', '.join(decision.not_finite)} is not finite"
        best = ", ".join(f"{name} {value:.4g}" for name, value in self.best.items())
        if decision.improved:
            return f"{', '.join(decision.improved)} improved (best: {best})"
        times = "check" if self.wait_count == 1 else f"{self.wait_count} checks"
        return f"none of {', '.join(self.monitors)} improved in the last {times} (best: {best})"


@dataclass(frozen=True)
class Judgement:
    """What a check found.

    Attributes:
        best: Best value of each metric, this check's included.
        improved: Metrics that are better than ever.
        not_finite: Metrics that are NaN or infinite.
    """

    best: dict[str, float]
    improved: tuple[str, ...]
    not_finite: tuple[str, ...]


def judged(
    values: Mapping[str, float], best: Mapping[str, float], modes: Mapping[str, str], deltas: Mapping[str, float]
) -> Judgement:
    """Return which metrics are better than their best value so far by more than they have to be, by name."""
    signs = {name: -1.0 if mode == "min" else 1.0 for name, mode in modes.items()}
    finite = {name: math.isfinite(value) for name, value in values.items()}
    improved = tuple(
        name for name, value in values.items() if finite[name] and signs[name] * (value - best[name]) > deltas[name]
    )
    new = {name: values[name] if name in improved else best[name] for name in values}
    return Judgement(new, improved, tuple(name for name in values if not finite[name]))


def _checked_monitors(monitors: object) -> dict[str, Literal["min", "max"]]:
    if not isinstance(monitors, Mapping):
        raise TypeError(
            "Expected `monitors` to map names of metrics to 'min' or 'max', such as {'val_loss': 'min'}, but got "
            f"{type(monitors).__name__}."
        )
    if not monitors:
        raise ValueError("Expected `monitors` to name at least one metric, but got none.")
    for mode in monitors.values():
        check_choice(mode, _MODES, "monitors")
    return {str(name): mode for name, mode in monitors.items()}
