"""One validation that is explained: whose it is, what each step has found so far, and what an error in one leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_xai._lightning import MisconfigurationException, is_misconfiguration
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.watchers import would_stop
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from lightning_xai.probing.decisions.shortcut import ShortcutDecision
from lightning_xai.probing.explained import Answers, ExplainedEpoch
from lightning_xai.probing.failures import Failure
from lightning_xai.probing.probe import Probe
from lightning_xai.probing.processes import Processes, all_succeeded, first_error, of_all
from lightning_xai.probing.validation import Accuracy, ValidationLogits

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer


@dataclass
class Validation:
    """A validation, and what is found about it: every step of explaining reads what the steps before it have set.

    Attributes:
        trainer: Whose validation it is.
        module: What is validated.
        run: What is remembered between validations.
        readout: How the model is read.
        began: When explaining it began.
        probes: Loader's index -> images that are explained; set where probes are gathered.
        answers: Loader's index -> answers of all ranks about each group of images of one size, by the step that asks.
        classifier: The one that was asked, on this rank.
        seconds_asking: That the answers took.
        measured: Name of a `Key` -> number about the validation itself, such as what it cost.
        logits: Loader's index -> logits of the whole validation, if a report wants them.
        accuracy: Loader's index -> accuracy of the whole validation, if its steps were listened to.
        failures: Loader's index -> images that reports show beside the probe.
        epoch: What is remembered and told.
        heatmaps: Loader's index -> explainer -> raw heatmaps (N, H, W).
        causes: Full key of a shortcut alarm -> the causes that raise it; none where it is not raised.
    """

    trainer: Trainer
    module: LightningModule
    run: RunState
    readout: Readout
    began: float = 0.0
    probes: Mapping[int, Probe] = field(default_factory=dict)
    answers: Mapping[int, Sequence[Answers]] = field(default_factory=dict)
    classifier: Classifier = field(init=False)
    seconds_asking: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)
    logits: Mapping[int, ValidationLogits] = field(default_factory=dict)
    accuracy: Mapping[int, Accuracy] = field(default_factory=dict)
    failures: Mapping[int, Sequence[Failure]] = field(default_factory=dict)
    epoch: ExplainedEpoch = field(init=False)
    heatmaps: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)
    causes: dict[str, list[ShortcutDecision]] = field(default_factory=dict)

    @property
    def processes(self) -> Processes:
        """Those that must agree: every strategy that can run has a rank, though not their common base class."""
        return cast("Processes", self.trainer.strategy)

    def new_classifier(self, on_evaluated: Callable[[int], object] | None = None) -> Classifier:
        """Return the module as validation runs it; labels of several columns decide an open task.

        Args:
            on_evaluated: Told the number of images after each forward.
        """
        run, readout, device = self.run, self.readout, self.module.device
        if readout.chunk_size is not None:
            readout = replace(readout, chunk_size=run.images_per_forward(device, readout.chunk_size))
        if readout.task == "auto" and run.labels_are_distributions is False:
            readout = replace(readout, task="multilabel")
        return Classifier(
            self.module,
            readout,
            precision=self.trainer.precision_plugin,
            chunk_size=run.images_per_forward(device),
            images_without_gradients=run.images_without_gradients(device),
            on_evaluated=on_evaluated or _ignore,
            channels_last=run.tried and run.channels_last is True,
        )


Step: TypeAlias = Callable[[Validation], object]
"""A part of explaining a validation; every rank takes the same ones, in one order."""


class Skipped(Exception):  # noqa: N818 - no error: it was told as one
    """This validation has no values, on any rank."""


@dataclass(frozen=True)
class Errors:
    """Agree on errors, and tell them.

    Attributes:
        on_error: Whether an error skips the values with a warning or ends the run.
        prefix: Of the keys that keep their last value then.
    """

    on_error: Literal["warn", "raise"]
    prefix: str

    def agreeing(self, *steps: Step) -> Step:
        """Return the steps as one after which ranks agree, so that none goes on alone.

        It raises `Skipped` on every rank if a step raised on some; that was told. A step that talks to other ranks
        itself, as gathering does, must until then raise on all of them or on none.
        """

        def agreed(at: Validation) -> None:
            error: Exception | None = None
            try:
                for step in steps:
                    step(at)
            except Exception as caught:
                error = caught
            self.agree(at, error)

        return agreed

    def agree_so_far(self, at: Validation) -> None:
        """Go on if the steps of the validation met no error on any rank; see `agree`."""
        self.agree(at, at.run.error)

    def agree(self, at: Validation, error: Exception | None) -> None:
        """Go on if no rank met an error; every rank must call it.

        Raises:
            Skipped: If one did, which was told.
            Exception: That of this rank, or one that names the rank that met it, if it ends the run.
        """
        if not all_succeeded(at.processes, error is None):
            self._tell(at, error)
            raise Skipped from error

    def _tell(self, at: Validation, error: Exception | None) -> None:
        run, reason = at.run, str(first_error(at.processes, error))
        misconfigured = is_misconfiguration(error) or (not run.tried and isinstance(error, (TypeError, ValueError)))
        if self.on_error == "raise" or any(of_all(at.processes, misconfigured)):
            raise error or RuntimeError(f"Explaining failed on {reason}")
        run.failures += 1
        if not run.epochs and would_stop(at.trainer, self.prefix, run.failures, run.last_values):
            raise MisconfigurationException(
                f"Expected values for the early stopping on {self.prefix}/…, which ends the run now, but "
                f"explaining failed in all of {run.failures} validations, at last on {reason}"
            ) from error
        run.tried = True  # what comes now is no error of configuration, and must not end the run
        rank_zero_warn(
            f"ExplanationMonitor logs nothing for epoch {at.trainer.current_epoch}, because explaining failed on "
            f"{reason.rstrip('.')}. Training goes on; monitored keys keep their last value. Use on_error='raise' to "
            "see where it comes from."
        )


def raise_on_all(at: Validation, error: Exception | None) -> None:
    """Raise on every rank, and at one moment, what is wrong on any; every rank must call it.

    Raises:
        Exception: That of this rank.
        RuntimeError: If another rank met it.
    """
    reason = first_error(at.processes, error)
    if reason is not None:
        raise error or RuntimeError(f"Explaining failed on {reason}")


def _ignore(_: int) -> None:
    """Take no note of evaluations; being told of them, the classifier shows no bar of its own."""
