"""What explaining may cost: chosen once from measured times, and told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai._checks import check_at_least, check_count
from lightning_xai.callbacks.run_state import BudgetChoice, RunState
from lightning_xai.callbacks.schedule import Schedule, has_known_epochs
from lightning_xai.probing.decisions.effort import LEAST_IMAGES, Effort, afforded
from lightning_xai.probing.explained import GAIN, ExplainedEpoch
from lightning_xai.probing.probe import Probe
from lightning_xai.probing.processes import Processes, of_all

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer

_TOLD = "effort"


@dataclass(frozen=True)
class Budget:
    """Keep explaining below a share of a fit's time, by fewer images, then by longer intervals.

    The choice is made once, in the first validation that is explained after some training. A few images of each probe
    are explained to see what they cost; then as many as the budget allows, always the first of the probe: those that a
    monitor with this ``num_images`` would have chosen. If they are the few, these are not explained twice.

    Attributes:
        max_overhead: Share of a fit's time; None to explain as asked.
        asked: The most images and the shortest interval.

    Raises:
        TypeError: If a setting is no number.
        ValueError: If one is out of range, or both epochs and steps are given.
    """

    max_overhead: float | None
    asked: Effort

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.asked.num_images, "num_images")
        Schedule(self.asked.every_n_epochs, self.asked.every_n_steps)
        if self.max_overhead is None:
            return
        check_at_least(self.max_overhead, 0.0, "max_overhead", strict=True)
        if self.max_overhead >= 1.0:
            raise ValueError(
                f"Expected `max_overhead` to be a share of a fit's time below 1, such as 0.05, but got "
                f"{self.max_overhead}."
            )

    def effort(self, run: RunState) -> Effort:
        """Return what is explained in a run now."""
        return self.asked if run.choice is None else run.choice.chosen

    def schedule(self, run: RunState) -> Schedule:
        """Return when a run is explained."""
        effort = self.effort(run)
        return Schedule(effort.every_n_epochs, effort.every_n_steps)

    def trial(self, trainer: Trainer, run: RunState) -> Mapping[int, Probe]:
        """Return the images to explain first: a few of each probe if the choice is to be made now, else all."""
        is_decided = run.stage != "fit" or self.max_overhead is None or run.choice is not None
        has_images = any(map(len, run.probes.values()))
        if is_decided or not has_images or _pace(trainer, run, self.asked) is None:
            return run.probes
        return {loader: probe.first(LEAST_IMAGES) for loader, probe in run.probes.items()}

    def choose(
        self,
        trainer: Trainer,
        run: RunState,
        processes: Processes,
        tried: Mapping[int, Probe],
        seconds: float,
        beside: float = 0.0,
    ) -> None:
        """Choose what is explained from now on, and cut the probes; every rank must call it.

        Args:
            trainer: Whose fit it is.
            run: What is remembered of it.
            processes: Those that have to agree: the slowest one's times count.
            tried: The images that were explained.
            seconds: That this took.
            beside: What is explained beside the probes, in images of a probe.
        """
        pace = _pace(trainer, run, self.asked)
        if pace is None or self.max_overhead is None:
            raise RuntimeError("Expected a choice where `trial` asked for one, but there was none to make.")
        per_unit, seconds = (max(times) for times in zip(*of_all(processes, (pace.seconds, seconds)), strict=True))
        per_image = seconds / sum(map(len, tried.values()))
        sizes = [len(probe) for probe in run.probes.values()]
        num_images, interval = afforded(
            per_image,
            sizes,
            seconds_per_unit=per_unit,
            interval=_shortest(self.asked, pace),
            max_overhead=self.max_overhead,
            beside=beside,
        )
        images = self.asked.num_images if num_images == max(sizes) else num_images
        chosen = Effort(images, self.asked.every_n_epochs, self.asked.every_n_steps)
        if interval is not None:
            chosen = Effort(images, interval) if pace.unit == "epoch" else Effort(images, every_n_steps=interval)
        measured = f"an image takes {per_image:.3g} s to explain, an {pace.unit} without explaining {per_unit:.3g} s"
        run.choice = BudgetChoice(self.max_overhead, self.asked, chosen, max(sizes), measured)
        run.probes = {loader: probe.first(images) for loader, probe in run.probes.items()}
        length = trainer.max_steps if chosen.every_n_steps else trainer.max_epochs
        if interval is not None and length is not None and 0 < length < interval:
            rank_zero_warn(
                f"ExplanationMonitor(max_overhead={self.max_overhead:g}) explains nothing in this fit after its first "
                f"validation, because explaining {images} images takes as long as {interval} {pace.unit}s leave: ask "
                "for fewer metrics or explainers, or for a greater share."
            )

    def check_restored(self, run: RunState) -> None:
        """Keep the choice of a checkpoint only if it was made for what is asked now."""
        choice = run.choice
        if choice is None:
            return
        if (choice.max_overhead, choice.asked) == (self.max_overhead, self.asked):
            run.said.add(_TOLD)
            return
        run.choice = None
        if self.max_overhead is not None:
            rank_zero_warn(
                f"ExplanationMonitor chooses anew what max_overhead={self.max_overhead} allows, because the "
                f"checkpoint's run had max_overhead={choice.max_overhead} and at most {choice.asked}."
            )

    def tell(self, run: RunState, epoch: ExplainedEpoch) -> None:
        """Say once what explaining costs: what was chosen, or which share of the epoch it takes."""
        choice, of_epoch = run.choice, run.time.of_epoch
        if choice is not None and _TOLD not in run.said:
            run.said.add(_TOLD)
            rank_zero_info(
                f"ExplanationMonitor(max_overhead={choice.max_overhead:g}) explains {choice.chosen} from now on; "
                f"without it, ExplanationMonitor({choice.chosen}) gives the same values. Of the first explanation: "
                f"{choice.measured}.{_error_left(epoch, choice)}"
            )
        elif self.max_overhead is None and len(run.epochs) == 1 and of_epoch is not None:
            rank_zero_info(
                f"ExplanationMonitor took {epoch.seconds:.1f} s, {epoch.seconds / max(of_epoch, 1e-9):.0%} of this "
                "epoch so far. To spend less: every_n_epochs, num_images, fewer metrics, or a bound, max_overhead."
            )


@dataclass(frozen=True)
class _Pace:
    """How fast a fit goes without explaining.

    Attributes:
        unit: ``"epoch"``, or ``"optimizer step"`` where steps count or an epoch's length is unknown.
        seconds: Per unit.
        to_validation: Units from the start of training to its first validation.
    """

    unit: str
    seconds: float
    to_validation: float


def _pace(trainer: Trainer, run: RunState, asked: Effort) -> _Pace | None:
    """Return how fast a fit goes; None where nothing was trained yet, as in the first validation after a resume."""
    first = run.time.first_validation
    if first is None:
        return None
    in_epochs = asked.every_n_steps is None and has_known_epochs(trainer)
    units = first.batches / trainer.num_training_batches if in_epochs else float(first.steps)
    return _Pace("epoch" if in_epochs else "optimizer step", first.seconds / units, units) if units else None


def _shortest(asked: Effort, pace: _Pace) -> float:
    """Return the shortest interval between two explanations, in units: only validations are explained."""
    if pace.unit == "epoch":
        return max(asked.every_n_epochs, pace.to_validation)
    if asked.every_n_steps is None:  # each validation counts as an epoch
        return asked.every_n_epochs * pace.to_validation
    return math.ceil(asked.every_n_steps / pace.to_validation) * pace.to_validation


def _error_left(epoch: ExplainedEpoch, choice: BudgetChoice) -> str:
    """Return a sentence about the standard error of the headline metric, with what more images would leave."""
    errors = {key: one.error for key, one in epoch.estimates.items() if math.isfinite(one.error)}
    key = next((key for wanted in (f"faithfulness{GAIN}", GAIN, "") for key in errors if wanted in key), None)
    if key is None:
        return ""
    explained = max(map(len, epoch.loaders.values()))
    less = errors[key] * math.sqrt(explained / choice.most_images)
    of_all_images = f", where all {choice.most_images} images would leave ±{less:.2g}"
    return f" The error left in {key} is ±{errors[key]:.2g}{of_all_images if explained < choice.most_images else ''}."
