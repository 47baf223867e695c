"""The callback that makes explanation quality a curve next to accuracy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai._checks import check_choice, check_count
from lightning_xai.aliases import ExplainerAlias, MetricAlias
from lightning_xai.callbacks.directory import run_directory
from lightning_xai.callbacks.engine import Engine, Outcome
from lightning_xai.callbacks.grid import Grid
from lightning_xai.callbacks.history import Row
from lightning_xai.callbacks.keys import stripped_prefix
from lightning_xai.callbacks.monitors import check_monitors, check_prefix, check_trainer
from lightning_xai.callbacks.parts import Parts
from lightning_xai.callbacks.record import Record
from lightning_xai.callbacks.report import Report
from lightning_xai.callbacks.sample import SampleFromBatch
from lightning_xai.callbacks.sample import sample_from_batch as sample_of
from lightning_xai.callbacks.schedule import is_due, is_resumed_midway
from lightning_xai.callbacks.study import TargetRule, check_target_rule
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class ExplanationMonitor(Callback):
    """Explain a fixed probe of validation images every epoch; log scores and a heatmap grid.

    Works in ``fit``, ``trainer.validate`` and ``trainer.test``; training is bit for bit what it is without it. Scores
    are logged like any metric, so that `EarlyStopping`, `ModelCheckpoint` and schedulers can monitor them.

    Logged below ``prefix`` (with several explainers ``<explainer>/<name>``, with several loaders
    ``<name>/dataloader_idx_<i>``): each metric's mean over the probe under its ``key``, among them ``faithfulness``
    (insertion minus deletion, [-1, 1], ↑); ``faithfulness_gain``, paired difference to a random map; ``control/…``, the
    random map's own value; ``undefined/…``, number of images without a value; ``probe_accuracy`` and
    ``probe_confidence`` in [0, 1]; ``seconds`` and ``model_evaluations`` spent; and the picture ``heatmaps``. Until a
    key has a value, monitors see the worst one of its range, loggers nothing; after that the last good one.
    ``xai_history.csv`` also holds standard errors.

    Args:
        explainers: Explainers or aliases, one or several, or a dict of names.
        metrics: Metrics or aliases; None for the default suite, with localization where data have masks or boxes.
        num_images: Size of the probe: class-balanced, gathered in the first validation, the same from then on.
        every_n_epochs: Explain in every n-th epoch (and in the first validation of a fit).
        target: Explained class: ``"label"``, ``"predicted"``, ``"least_probable"`` or an index.
        readout: How the model is read; `Readout()` if None.
        grid: How the heatmap grid looks; `Grid()` if None.
        sample_from_batch: A function of a batch that returns a `Sample`, for batches of unusual form.
        prefix: First part of every key; two monitors of a Trainer need two.
        on_error: ``"warn"`` skips an epoch's values with one warning; ``"raise"`` ends the run. Errors of configuration
            are raised before training starts, whatever this says.
        seed: Of the random control.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or an alias is unknown.
        MisconfigurationException: At the start of a run that cannot work, such as one with an `EarlyStopping` on a
            key that is not logged.

    Example:
        >>> import lightning as L
        >>> from lightning.pytorch.callbacks import EarlyStopping
        >>> stop = EarlyStopping(monitor="xai/faithfulness", mode="max", patience=3)
        >>> trainer = L.Trainer(callbacks=[ExplanationMonitor(), stop], logger=False)
    """

    def __init__(
        self,
        explainers: (
            ExplainerAlias | Explainer | Sequence[ExplainerAlias | Explainer] | Mapping[str, ExplainerAlias | Explainer]
        ) = "grad_cam",
        metrics: (
            MetricAlias
            | ExplanationMetric
            | Sequence[MetricAlias | ExplanationMetric]
            | Mapping[str, MetricAlias | ExplanationMetric]
            | None
        ) = None,
        num_images: int = 32,
        every_n_epochs: int = 1,
        target: TargetRule = "label",
        readout: Readout | None = None,
        grid: Grid | None = None,
        sample_from_batch: SampleFromBatch | None = None,
        prefix: str = "xai",
        on_error: Literal["warn", "raise"] = "warn",
        seed: int = 0,
    ) -> None:
        check_count(num_images, "num_images")
        check_count(every_n_epochs, "every_n_epochs")
        check_target_rule(target)
        check_choice(on_error, ("warn", "raise"), "on_error")
        self.prefix = stripped_prefix(prefix)
        self.num_images = num_images
        self.every_n_epochs = every_n_epochs
        self._parts = Parts(explainers, metrics, target, seed, num_images, self.prefix)
        self._sample_from_batch = sample_from_batch or sample_of
        self._engine = Engine(self._parts, readout or Readout(), on_error)
        self._report = Report(self._parts, grid or Grid())
        self._records: dict[str, Record] = {"fit": Record()}
        self._stage = "fit"

    @property
    def history(self) -> list[Row]:
        """One row per explained validation of the last fit: epoch, step, values, and standard errors (``_se``)."""
        return self._records["fit"].history.rows

    @property
    def state_key(self) -> str:
        """Name of the state in checkpoints; it holds the prefix, so that several monitors keep apart."""
        return self._generate_state_key(prefix=self.prefix)

    def state_dict(self) -> dict[str, Any]:
        """Return the probe's identities, the last heatmaps (at most 56×56), the history and the last values."""
        return self._records["fit"].state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue probe, history and drift of a fit; `validate` and `test` with a checkpoint leave them alone."""
        if self._stage == "fit":
            self._records["fit"].restore(state_dict)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Start a new record, take the first place among the callbacks, and check who monitors our keys."""
        check_trainer(trainer)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        check_prefix(self.prefix, [other.prefix for other in callbacks if isinstance(other, ExplanationMonitor)])
        self._stage = str(getattr(stage, "value", stage))  # Lightning passes an enum whose text is not its value
        self._records[self._stage] = Record(self._stage, run_directory(trainer))
        # Weight averaging swaps the weights back in the hook in which we explain: we must come before it.
        trainer.callbacks = [self, *(other for other in callbacks if other is not self)]  # type: ignore[attr-defined]
        if stage == "fit":
            check_monitors(trainer, self.prefix, self._parts.keys(annotated=True), self.every_n_epochs, exact=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Refuse a fit whose validation has nothing to explain."""
        if not trainer.enable_validation:
            rank_zero_warn(
                "ExplanationMonitor explains nothing: this fit has no validation (no loader, no `validation_step`, or "
                "limit_val_batches=0)."
            )
        elif trainer.val_dataloaders is not None and not sum(trainer.num_val_batches):
            raise MisconfigurationException(
                "Expected the validation loader to have batches, because ExplanationMonitor takes its images there, "
                "but it is empty."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note the time, to say once which share of an epoch explaining takes."""
        self._record.epoch_began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a resume at the end of an epoch, monitors ask before there is a validation: see that keys exist."""
        if self._record.first:
            self._report.promise(trainer, pl_module, self._record.last_values)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Decide whether this validation is explained."""
        self._begin(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """See `on_validation_start`."""
        self._begin(trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Gather the probe before the step may change the batch; see that monitored keys exist."""
        self._see(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """See `on_validation_batch_start`."""
        self._see(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain, score and log."""
        self._finish(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See `on_validation_epoch_end`."""
        self._finish(trainer, pl_module)

    @property
    def _record(self) -> Record:
        return self._records[self._stage]

    def _begin(self, trainer: Trainer) -> None:
        due = is_due(trainer.current_epoch, self.every_n_epochs, self._record.last_epoch, first=self._record.first)
        batches = trainer.num_test_batches if self._stage == "test" else trainer.num_val_batches
        self._record.begin(len(batches), due=(due and not is_resumed_midway(trainer)) or trainer.sanity_checking)

    def _see(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int, loader: int) -> None:
        record = self._record
        fresh = batch_idx == 0
        gathers = record.due and loader not in record.probes and not trainer.sanity_checking
        if not fresh and not gathers:
            return
        try:
            # Reading a batch in the usual way disturbs nothing, and guarding the module costs more than choosing.
            usual = self._sample_from_batch is sample_of
            with torch.inference_mode(False) if usual else preserved(module):
                sample = self._sample_from_batch(batch)
                if fresh:
                    record.meet(loader, sample)
                if gathers:
                    record.selection(loader, self._parts.num_gathered).offer(sample)
        except Exception as error:
            if fresh and not record.tried:
                raise
            record.error = error
        if fresh and self._stage == "fit" and not trainer.sanity_checking and loader in record.samples:
            self._report.stand_in(trainer, module, record, loader)

    def _finish(self, trainer: Trainer, module: LightningModule) -> None:
        record = self._record
        if self._stage == "fit" and record.due and not record.tried:
            keys = self._parts.keys(annotated=record.annotated, loaders=record.loaders)
            check_monitors(trainer, self.prefix, keys, self.every_n_epochs)
        if trainer.sanity_checking:
            self._engine.try_one_image(trainer, module, record)
            self._report.check(record)
            return
        if record.due:
            began = time.perf_counter()
            outcome = self._engine.explain(trainer, module, record)
            if outcome is not None:
                self._publish(trainer, module, outcome, time.perf_counter() - began)
            record.first = False

    def _publish(self, trainer: Trainer, module: LightningModule, outcome: Outcome, seconds: float) -> None:
        try:
            self._report.publish(trainer, module, self._record, outcome, seconds)
        except Exception as error:
            if self._engine.on_error == "raise":
                raise
            rank_zero_warn(
                f"ExplanationMonitor could not report epoch {trainer.current_epoch}: {type(error).__name__}: {error}"
            )
