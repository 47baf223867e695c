"""What explaining may cost: chosen once from measured times, and told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai._checks import check_at_least
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.schedule import has_known_epochs
from lightning_xai.callbacks.run.validation import Step, Validation
from lightning_xai.callbacks.steps.failures import ShownFailures
from lightning_xai.probing.decisions.effort import LEAST_IMAGES, BudgetChoice, Effort, afforded
from lightning_xai.probing.explained import GAIN, ExplainedEpoch
from lightning_xai.probing.keys import OVERHEAD
from lightning_xai.probing.probe import Probe
from lightning_xai.probing.processes import of_all

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer

_TOLD = "effort"


@dataclass(frozen=True)
class Budget:
    """The step that keeps explaining below a share of a fit's time, by fewer images, then by longer intervals.

    The choice is made once, in the first validation that is explained after some training. A few images of each probe
    are explained to see what they cost; then as many as the budget allows, always the first of the probe: those that a
    monitor with this ``num_images`` would have chosen. If they are the few, these are not explained twice.

    Attributes:
        max_overhead: Share of a fit's time.
        ask: The step that explains the images.
        failures: What is explained beside them.

    Raises:
        TypeError: If the share is no number.
        ValueError: If it is out of range.
    """

    max_overhead: float
    ask: Step
    failures: ShownFailures | None = None

    def __post_init__(self) -> None:
        """Check the share."""
        check_at_least(self.max_overhead, 0.0, "max_overhead", strict=True)
        if self.max_overhead >= 1.0:
            raise ValueError(
                f"Expected `max_overhead` to be a share of a fit's time below 1, such as 0.05, but got "
                f"{self.max_overhead}."
            )

    def __call__(self, at: Validation) -> None:
        """Ask about the images that the budget allows, and measure its share; every rank must call it."""
        run = at.run
        pace = None if run.stage != "fit" or run.choice is not None else _pace(at.trainer, run)
        if pace is None or not any(map(len, run.probes.values())):
            self.ask(at)
        else:
            at.probes = {loader: probe.first(LEAST_IMAGES) for loader, probe in run.probes.items()}
            self.ask(at)
            tried, at.probes = at.probes, self._chosen(at, pace)
            if any(len(at.probes[loader]) > len(probe) for loader, probe in tried.items()):
                self.ask(at)
        if run.stage == "fit":
            at.measured[OVERHEAD.name] = max(of_all(at.processes, run.time.overhead))

    def _chosen(self, at: Validation, pace: _Pace) -> Mapping[int, Probe]:
        """Choose what is explained from now on, and cut the probes; every rank must call it."""
        run, trainer, asked = at.run, at.trainer, at.run.asked
        # the slowest rank's times count
        times = of_all(at.processes, (pace.seconds, at.seconds_asking))
        per_unit, seconds = (max(of_ranks) for of_ranks in zip(*times, strict=True))
        per_image = seconds / sum(map(len, at.probes.values()))
        sizes = [len(probe) for probe in run.probes.values()]
        num_images, interval = afforded(
            per_image,
            sizes,
            seconds_per_unit=per_unit,
            interval=_shortest(asked, pace),
            max_overhead=self.max_overhead,
            beside=0.0 if self.failures is None else self.failures.worth(run) * len(at.probes),
        )
        images = asked.num_images if num_images == max(sizes) else num_images
        chosen = replace(asked, num_images=images)
        if interval is not None:
            chosen = Effort(images, interval) if pace.unit == "epoch" else Effort(images, every_n_steps=interval)
        measured = f"an image takes {per_image:.3g} s to explain, an {pace.unit} without explaining {per_unit:.3g} s"
        run.choice = BudgetChoice(self.max_overhead, asked, chosen, max(sizes), measured)
        run.probes = {loader: probe.first(images) for loader, probe in run.probes.items()}
        length = trainer.max_steps if chosen.every_n_steps else trainer.max_epochs
        if interval is not None and length is not None and 0 < length < interval:
            rank_zero_warn(
                f"ExplanationMonitor(max_overhead={self.max_overhead:g}) explains nothing in this fit after its first "
                f"validation, because explaining {images} images takes as long as {interval} {pace.unit}s leave: ask "
                "for fewer metrics or explainers, or for a greater share."
            )
        return run.probes

    def tell(self, at: Validation) -> None:
        """Say once what was chosen."""
        choice, said = at.run.choice, at.run.said
        if choice is not None and _TOLD not in said:
            said.add(_TOLD)
            rank_zero_info(
                f"ExplanationMonitor(max_overhead={choice.max_overhead:g}) explains {choice.chosen} from now on; "
                f"without it, ExplanationMonitor({choice.chosen}) gives the same values. Of the first explanation: "
                f"{choice.measured}.{_error_left(at.epoch, choice)}"
            )


def check_restored(choice: BudgetChoice, run: RunState, max_overhead: float | None) -> None:
    """Keep the choice of a checkpoint only if it was made for what is asked now."""
    if (choice.max_overhead, choice.asked) == (max_overhead, run.asked):
        run.said.add(_TOLD)
        return
    run.choice = None
    if max_overhead is not None:
        rank_zero_warn(
            f"ExplanationMonitor chooses anew what max_overhead={max_overhead} allows, because the "
            f"checkpoint's run had max_overhead={choice.max_overhead} and at most {choice.asked}."
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


def _pace(trainer: Trainer, run: RunState) -> _Pace | None:
    """Return how fast a fit goes; None where nothing was trained yet, as in the first validation after a resume."""
    first = run.time.first_validation
    if first is None:
        return None
    in_epochs = run.asked.every_n_steps is None and has_known_epochs(trainer)
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
