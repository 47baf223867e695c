"""What the Trainer had logged beside each explanation: what reports and decisions tie to its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_xai.probing.explained import ExplainedEpoch, Moment, moment_of

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer


@dataclass
class LoggedBeside:
    """What the Trainer had logged when each explanation was made; the same on every rank.

    A validation notes it when it ends; where decisions wait for the end of the epoch, that corrects it. What was there
    before the validation, such as the training accuracy of an earlier epoch, can be left out.

    Attributes:
        by_moment: Epoch and step of an explanation -> name -> value.
        now: The explanation that the last validation of this process made, None if it made none.
    """

    by_moment: dict[Moment, dict[str, float]] = field(default_factory=dict)
    now: Moment | None = None
    _before: Mapping[str, Tensor] = field(default_factory=dict, init=False)

    def leave_out_earlier(self, trainer: Trainer) -> None:
        """Leave out, from the start of a validation, what it does not log itself; every rank must call it."""
        self._before = dict(trainer.callback_metrics)

    def begin(self, epochs: Sequence[ExplainedEpoch]) -> None:
        """Learn at the end of a validation whether it was explained."""
        newest = moment_of(epochs[-1]) if epochs else None
        self.now = None if newest in self.by_moment else newest

    def note(self, trainer: Trainer, wanted: Callable[[str], bool], more: Mapping[str, float] | None = None) -> None:
        """Note the wanted metrics, as rank 0 has them; every rank must call it."""
        if self.now is None:
            return
        logged = trainer.callback_metrics.items()
        # what is logged anew is another tensor, of whatever value
        values = {name: float(one) for name, one in logged if wanted(name) and one is not self._before.get(name)}
        self.by_moment[self.now] = trainer.strategy.broadcast({**values, **(more or {})})

    def state(self) -> list[list[Any]]:
        """Return plain values for a checkpoint."""
        return [[epoch, step, dict(values)] for (epoch, step), values in self.by_moment.items()]

    def restore(self, state: Iterable[Sequence[Any]]) -> None:
        """Go on from what a checkpoint holds."""
        self.by_moment = {
            (int(epoch), int(step)): {str(name): float(value) for name, value in values.items()}
            for epoch, step, values in state
        }
        self.now = None
