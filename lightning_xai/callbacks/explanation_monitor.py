"""The callback that makes explanation quality a curve next to accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai._checks import check_choice, renamed_arguments
from lightning_xai._lightning import Callback, MisconfigurationException, check_installed
from lightning_xai.aliases import ExplainerAlias, MetricAlias
from lightning_xai.callbacks import checkpoint_state
from lightning_xai.callbacks.alarming import check_judges, checked_alarm
from lightning_xai.callbacks.assumptions import WatchedStep
from lightning_xai.callbacks.batch_reader import BatchReader
from lightning_xai.callbacks.budget import Budget
from lightning_xai.callbacks.engine import Engine, processes_of
from lightning_xai.callbacks.run_state import Runs, RunState
from lightning_xai.callbacks.telling import end_fit, end_validation
from lightning_xai.callbacks.users_accuracy import warn_of_accuracy
from lightning_xai.callbacks.validation_logits import begin_listening, listen
from lightning_xai.callbacks.watchers import agree, check_prefix, check_trainer, check_watchers, promise_keys
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.readout import Readout
from lightning_xai.probing.batches import SampleFromBatch
from lightning_xai.probing.batches import sample_from_batch as sample_of
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.probing.explained import ExplainedEpoch
from lightning_xai.probing.groups_in_batch import Groups, check_groups
from lightning_xai.probing.keys import Keys, stripped_prefix
from lightning_xai.probing.plan import Plan, TargetRule
from lightning_xai.probing.shortcut_alarm import ShortcutAlarm
from lightning_xai.reports.accuracy_alignment import AccuracyAlignment
from lightning_xai.reports.breakdown import Breakdown
from lightning_xai.reports.filmstrip import Filmstrip
from lightning_xai.reports.grid import Grid
from lightning_xai.reports.html.html_report import HtmlReport
from lightning_xai.reports.maps import Maps
from lightning_xai.reports.numbers import History, Scalars
from lightning_xai.reports.report import Report

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer


class ExplanationMonitor(Callback):
    """Explain a fixed probe of validation images every epoch; log scores and a heatmap grid.

    Works in ``fit``, ``trainer.validate`` and ``trainer.test`` of `lightning` and `pytorch_lightning`; training is bit
    for bit what it is without it. Scores are logged like any metric, so that `EarlyStopping`, `ModelCheckpoint` and
    schedulers can monitor them.

    Logged below ``prefix`` (with several explainers ``<explainer>/<name>``, with several loaders
    ``<name>/dataloader_idx_<i>``): each metric's mean over the probe under its ``key``, among them ``faithfulness``
    (insertion minus deletion, [-1, 1], ↑); ``faithfulness_gain``, paired difference to a random map; ``control/…``, the
    random map's own value; ``undefined/…``, number of images without a value; ``shortcut_alarm``, 1 while a fit seems
    right for the wrong reason; ``probe_accuracy`` and ``probe_confidence`` in [0, 1]; ``seconds`` and
    ``model_evaluations`` spent; and the picture ``heatmaps``. Until a key has a value, monitors see the worst one of
    its range (no alarm: 0), loggers nothing; after that the last good one. ``xai_history.csv`` also holds standard
    errors.

    Args:
        explainers: Explainers or aliases, one or several, or a dict of names.
        metrics: Metrics or aliases; None for the default suite, with localization where data have masks or boxes. Among
            others, ``"default"`` stands for it: ``["default", "road"]``.
        num_images: Size of the probe: class-balanced, annotated images first, gathered in the first validation, the
            same from then on. Images may differ in size.
        every_n_epochs: Explain the last validation of every n-th epoch (and the first of a fit); where the length of an
            epoch is unknown, each validation counts as one.
        target: Explained class: ``"label"``, ``"predicted"``, ``"least_probable"`` or an index.
        readout: How the model is read; `Readout()` if None.
        reports: Who tells an explained epoch; if None ``[Scalars(), History(), Maps(), Grid(), Filmstrip(),
            Breakdown(), AccuracyAlignment(), HtmlReport()]``. Each fails alone, and monitors see the values whatever
            reports there are.
        sample_from_batch: A function of a batch that returns a `Sample`, for batches of unusual form.
        prefix: First part of every key; two monitors of a Trainer need two.
        on_error: ``"warn"`` skips an epoch's values with one warning; ``"raise"`` ends the run. Errors of configuration
            are raised before training starts, whatever this says.
        seed: Of the random control.
        private: Keep images and ids out of every logger, file and report: numbers only.
        every_n_steps: Explain the first validation of a fit, then the first one that comes at least so many optimizer
            steps (``trainer.global_step``) after the last explained; None to count epochs.
        shortcut_alarm: Warn when a fit seems right for the wrong reason, as ``shortcut_alarm`` (0 or 1) and in words;
            see `ShortcutAlarm`. False turns it off, and there is none where no metric has a gain or is a localization.
        max_overhead: Share of a fit's time that explaining may take, such as 0.05; None for no bound. ``num_images`` is
            then the most and ``every_n_epochs`` (or ``every_n_steps``) the shortest interval: in the first validation,
            times are measured, and as many images chosen as fit; only where 8 (or all) do not, the interval grows. It
            is chosen once, on all ranks alike, kept by checkpoints, and said with the fixed settings (`effort`) that
            give the same values. ``overhead`` is logged, the share so far.
        groups: Site, scanner or background of each image: a key of the batch, or a function of it that returns a whole
            number or a text per image. The probe is balanced over class × group, and values are told by group.
        breakdown: Names such as ``"faithfulness_gain"`` of which ``worst_class/…``, ``worst_group/…`` and ``gap/…``
            (best minus worst group; class without groups) are logged, among those with two or more defined images.

    Raises:
        ModuleNotFoundError: If neither `lightning` nor `pytorch_lightning` is installed.
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

    @renamed_arguments(grid="reports=[Scalars(), History(), Grid(...)]")
    def __init__(
        self,
        explainers: (
            ExplainerAlias | Explainer | Sequence[ExplainerAlias | Explainer] | Mapping[str, ExplainerAlias | Explainer]
        ) = "grad_cam",
        metrics: (
            MetricAlias
            | ExplanationMetric
            | Sequence[MetricAlias | Literal["default"] | ExplanationMetric]
            | Mapping[str, MetricAlias | ExplanationMetric]
            | None
        ) = None,
        num_images: int = 32,
        every_n_epochs: int = 1,
        target: TargetRule = "label",
        readout: Readout | None = None,
        reports: Report | Sequence[Report] | None = None,
        sample_from_batch: SampleFromBatch | None = None,
        prefix: str = "xai",
        on_error: Literal["warn", "raise"] = "warn",
        seed: int = 0,
        private: bool = False,
        every_n_steps: int | None = None,
        shortcut_alarm: ShortcutAlarm | bool = True,
        max_overhead: float | None = None,
        groups: Groups | None = None,
        breakdown: str | Sequence[str] | None = None,
    ) -> None:
        check_installed()
        check_groups(groups)
        check_choice(on_error, ("warn", "raise"), "on_error")
        self.prefix = stripped_prefix(prefix)
        self.num_images = num_images
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.shortcut_alarm, self.max_overhead = shortcut_alarm, max_overhead
        self._budget = Budget(max_overhead, Effort(num_images, every_n_epochs, every_n_steps))
        self.plan = Plan(explainers, metrics, target, seed, checked_alarm(shortcut_alarm))
        check_judges(shortcut_alarm, self.plan)
        self.groups, self.breakdown = groups, _names(breakdown)
        self.keys = Keys(
            self.plan, self.prefix, num_images, breakdown=self.breakdown, budgeted=max_overhead is not None
        )
        self.reports = _checked_reports(reports)
        for report in self.reports:
            report.check_keys(self.keys)
        self._reader = BatchReader(sample_from_batch or sample_of, groups, readout or Readout())
        self._engine = Engine(
            self.plan, self.keys, readout or Readout(), self.reports, on_error, budget=self._budget, private=private
        )
        self._runs = Runs()
        self._latest: ExplainedEpoch | None = None
        self._step: WatchedStep | None = None

    @property
    def latest(self) -> ExplainedEpoch | None:
        """The last explained validation or test: values, and every number, heatmap and probability about each image."""
        return self._latest

    @property
    def history(self) -> list[ExplainedEpoch]:
        """Every explained validation of the last fit, then of `validate` and `test`: numbers only.

        ``history[-1]["xai/faithfulness"]`` is a value; each epoch says its ``stage`` and the ``checkpoint`` that was
        loaded, if any.
        ``lightning_xai.difference(a.scores("faithfulness"), b.scores("faithfulness"))`` compares two image by image.
        After a strategy that starts processes by itself (``"ddp_spawn"``, ``"ddp_fork"``, ``"ddp_notebook"``) it is
        empty here, as is `latest`: a checkpoint holds it,
        ``monitor.load_state_dict(torch.load(path)["callbacks"][monitor.state_key])``.
        """
        return self._runs.epochs

    @property
    def effort(self) -> Effort:
        """How many images of a fit are explained, and how often: as asked, or what ``max_overhead`` was found to allow.

        Set in place of ``max_overhead``, these settings give the same values.
        """
        return self._budget.effort(self._runs["fit"])

    @property
    def state_key(self) -> str:
        """Name of the state in checkpoints; it holds the prefix, so that several monitors keep apart."""
        return f"{type(self).__qualname__}{{'prefix': {self.prefix!r}}}"  # as Lightning writes them

    def state_dict(self) -> dict[str, Any]:
        """Return the probe's identities, its last heatmaps (at most 56×56), all epochs' numbers and the last values."""
        return checkpoint_state.state_of(self._runs["fit"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue probe, history and drift of a fit; `validate` and `test` with a checkpoint leave them alone."""
        run = self._runs.begun
        if run.stage != "fit":
            return
        try:
            checkpoint_state.restore(run, state_dict, self.plan)
        except ValueError as error:
            rank_zero_warn(
                f"ExplanationMonitor starts afresh, because its state in the checkpoint cannot be read: {error}"
            )
            return
        self._runs.keep_folder(run)
        self._budget.check_restored(run)
        num_images = self._budget.effort(run).num_images
        before = run.forget_probes_unlike(num_images)
        if before:
            rank_zero_warn(
                f"ExplanationMonitor explains a new probe, because num_images={num_images} but the checkpoint's "
                f"run had {before[0]}: heatmap drift starts anew, and earlier epochs are of other images."
            )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Note which epoch and step a checkpoint is of that is validated or tested."""
        self._runs.begun.loaded = (int(checkpoint.get("epoch", 0)), int(checkpoint.get("global_step", 0)))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Start afresh, unless a fit goes on; take the first place among the callbacks; check who monitors our keys."""
        check_trainer(trainer)
        self._runs.check_process(trainer, self.prefix)
        callbacks = trainer.callbacks  # type: ignore[union-attr]
        check_prefix(self.prefix, [other.prefix for other in callbacks if isinstance(other, ExplanationMonitor)])
        self._runs.begin(trainer, self.prefix)
        # Weight averaging swaps the weights back in the hook in which we explain: we must come before it.
        trainer.callbacks = [self, *(other for other in callbacks if other is not self)]  # type: ignore[union-attr]
        if stage == "fit":
            check_watchers(trainer, self.prefix, self.keys.all(annotated=True), loaders_known=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a fit whose validation has nothing to explain; see that keys exist before the first validation."""
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
        run = self._runs.of(trainer)
        promise_keys(self.keys, trainer, pl_module, run)
        self._budget.schedule(run).explain_itself(trainer, self.prefix)
        run.time.begin(trainer.fit_loop.total_batch_idx, trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note the time, to say once which share of an epoch explaining takes."""
        self._runs.of(trainer).time.begin_epoch()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide whether this validation is explained."""
        self._begin(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See `on_validation_start`."""
        self._begin(trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Gather the probe before the step may change the batch."""
        self._see(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """See `on_validation_batch_start`."""
        self._see(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Keep what the step computed; hold the first step's own call of the model against ours."""
        self._compare_calls(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """See `on_validation_batch_end`."""
        self._compare_calls(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no hook behind when a step fails; tell a fit that is interrupted by hand."""
        run = self._runs.of(trainer)
        run.stop_listening()
        run.time.end()
        if isinstance(exception, KeyboardInterrupt) and run.stage == "fit":
            self.on_fit_end(trainer, pl_module)
        if self._step is not None:
            self._step.stop()
            self._step = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain, score and log."""
        self._finish(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See `on_validation_epoch_end`."""
        self._finish(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Read the user's own accuracy, which may be logged last: compare with it, and let reports tell it."""
        self._read_logged(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """See `on_validation_end`."""
        self._read_logged(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Let reports tell all epochs."""
        run = self._runs.of(trainer)
        run.time.end()
        end_fit(trainer, run, self.keys, self.reports, private=self._engine.private)

    def _read_logged(self, trainer: Trainer) -> None:
        run = self._runs.of(trainer)
        if run.explained is not None and not trainer.sanity_checking:
            warn_of_accuracy(trainer, run.explained, run.class_counts, run.said)
            with run.time.spent():
                end_validation(trainer, run, self.keys, self.reports, run.explained, private=self._engine.private)

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        run = self._runs.of(trainer)
        batches = trainer.num_test_batches if run.stage == "test" else trainer.num_val_batches
        run.begin_validation(len(batches), due=self._budget.schedule(run).is_due(trainer, run))
        if any(report.reads_logged for report in self.reports):
            run.logged.leave_out_earlier(trainer)
        for_reports = any(report.wants_validation_logits for report in self.reports)
        if for_reports or (self.plan.alarm is not None and run.stage == "fit"):
            watch_images = self._engine.watching(trainer, module, run) if run.due else None
            begin_listening(
                trainer, module, run, self._engine.readout, for_reports=for_reports, watch_images=watch_images
            )

    def _see(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int, loader: int) -> None:
        run = self._runs.of(trainer)
        if run.listening is not None:
            listen(run.listening, module, batch, loader, self._reader.sample_from_batch)
        is_first = batch_idx == 0
        gathers = run.due and loader not in run.probes and not trainer.sanity_checking
        if not is_first and not gathers:
            return
        try:
            sample = self._reader.read(module, batch, run)
            with torch.inference_mode(False):
                run.note_labels(sample)
                if is_first:
                    run.note_first_batch(loader, sample)
                if gathers:
                    num_images = self._budget.effort(run).num_images
                    run.selection(loader, max(num_images, self.plan.num_references)).offer(sample)
        except Exception as error:
            if is_first and not run.tried:
                raise
            run.error = error
        if is_first and loader == 0 and loader in run.samples and not run.tried and run.error is None:
            redirected = trainer.strategy.model is not module
            self._step = WatchedStep(module, self._engine.readout, redirected=redirected)

    def _compare_calls(self, trainer: Trainer, module: LightningModule) -> None:
        listening = self._runs.of(trainer).listening
        if listening is not None:
            listening.end_batch()
        if self._step is not None:
            step, self._step = self._step, None
            step.stop()
            self._engine.compare_calls(trainer, module, self._runs.of(trainer), step)

    def _finish(self, trainer: Trainer, module: LightningModule) -> None:
        run = self._runs.of(trainer)
        if run.listening is not None:
            run.listening.stop()
        if run.due or not run.annotated_loaders:
            agree(processes_of(trainer), run)
        if run.stage == "fit" and run.due and not run.tried:
            keys = self.keys.all(annotated=run.annotated, grouped=run.grouped, loaders=run.loaders)
            check_watchers(trainer, self.prefix, keys)
        if trainer.sanity_checking:
            self._engine.check_configuration(trainer, module, run)
            return
        if run.stage == "fit" and self.max_overhead is not None:
            run.time.note_validation(trainer.fit_loop.total_batch_idx, trainer.global_step)
        run.explained = None
        if run.due:
            self._explain(trainer, module, run)
        run.first = run.first and not run.due
        run.stop_listening()
        if run.stage == "fit":
            promise_keys(self.keys, trainer, module, run)

    def _explain(self, trainer: Trainer, module: LightningModule, run: RunState) -> None:
        schedule = self._budget.schedule(run)
        with run.time.spent():
            epoch = run.explained = self._engine.explain(trainer, module, run)
        self._latest = epoch or self._latest
        if epoch is not None and schedule.is_in_step(trainer, run):
            run.last_step = trainer.global_step
        if self._budget.schedule(run) != schedule:
            self._budget.schedule(run).warn_watchers(trainer, self.prefix)


def _names(breakdown: str | Sequence[str] | None) -> tuple[str, ...]:
    names = (breakdown,) if isinstance(breakdown, str) else tuple(breakdown or ())
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"Expected `breakdown` to hold names of metrics, but got {type(name).__name__}.")
    return names


def _checked_reports(reports: Report | Sequence[Report] | None) -> tuple[Report, ...]:
    if reports is None:
        return (Scalars(), History(), Maps(), Grid(), Filmstrip(), Breakdown(), AccuracyAlignment(), HtmlReport())
    given = (reports,) if isinstance(reports, Report) else tuple(reports)
    for report in given:
        if not isinstance(report, Report):
            raise TypeError(f"Expected `reports` to hold reports such as Grid(), but got {type(report).__name__}.")
    return given
