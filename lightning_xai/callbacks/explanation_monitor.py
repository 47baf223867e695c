"""The callback that makes explanation quality a curve next to accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai._checks import check_choice, renamed_arguments
from lightning_xai._lightning import Callback, check_installed
from lightning_xai.aliases import ExplainerAlias, MetricAlias
from lightning_xai.callbacks.run import checkpoint_state
from lightning_xai.callbacks.run.runs import Runs
from lightning_xai.callbacks.run.schedule import Schedule, check_effort
from lightning_xai.callbacks.run.validation import Validation
from lightning_xai.callbacks.run.watchers import (
    check_prefix,
    check_trainer,
    check_validation,
    check_watchers,
    promise_keys,
)
from lightning_xai.callbacks.steps.alarming import check_judges, checked_alarm
from lightning_xai.callbacks.steps.assumptions import warn_of_accuracy
from lightning_xai.callbacks.steps.budget import check_restored
from lightning_xai.callbacks.steps.engine import Engine
from lightning_xai.callbacks.steps.gathering import Gathering, agree_on_data
from lightning_xai.callbacks.steps.rehearsal import compare_calls
from lightning_xai.callbacks.steps.telling import Telling, checked_reports
from lightning_xai.callbacks.steps.watched_step import WatchedStep
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.readout import Readout
from lightning_xai.probing.batches import SampleFromBatch
from lightning_xai.probing.batches import sample_from_batch as sample_of
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.probing.explained import ExplainedEpoch
from lightning_xai.probing.groups_in_batch import Groups
from lightning_xai.probing.keys import Keys, names_of, stripped_prefix
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.shortcut_alarm import ShortcutAlarm
from lightning_xai.probing.target import TargetRule
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
        target: Explained class: ``"label"``, ``"predicted"``, ``"least_probable"``, ``"top_2"``, ``"top_3"``, … (the
            second, third, … largest logit) or an index.
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
        check_choice(on_error, ("warn", "raise"), "on_error")
        asked = Effort(num_images, every_n_epochs, every_n_steps)
        check_effort(asked)
        self.prefix = stripped_prefix(prefix)
        self.num_images = num_images
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.shortcut_alarm, self.max_overhead = shortcut_alarm, max_overhead
        self.readout, self.on_error, self.groups = readout or Readout(), on_error, groups
        alarm = None if shortcut_alarm is False else checked_alarm(shortcut_alarm)
        self.plan = Plan(explainers, metrics, target, seed, alarm)
        if shortcut_alarm is not True and alarm is not None:
            check_judges(self.plan)
        budgeted = max_overhead is not None
        self.keys = Keys(self.plan, self.prefix, num_images, breakdown=names_of(breakdown), budgeted=budgeted)
        self.breakdown = self.keys.breakdown
        self._telling = Telling(checked_reports(reports), self.keys, private)
        self.reports = self._telling.reports
        self._gathering = Gathering(self.plan, self.readout, sample_from_batch or sample_of, groups)
        self._engine = Engine(self.plan, self.keys, self._gathering, self._telling, on_error, max_overhead)
        self._runs = Runs(asked)
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
        return self._runs["fit"].effort

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
        if run.choice is not None:
            check_restored(run.choice, run, self.max_overhead)
        run.forget_probes_unlike(run.effort.num_images)

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
        check_validation(trainer)
        run = self._runs.of(trainer)
        promise_keys(self.keys, trainer, pl_module, run)
        Schedule(run.effort).explain_itself(trainer, self.prefix)
        run.time.begin(trainer.fit_loop.total_batch_idx, trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note the time, to say once which share of an epoch explaining takes."""
        self._runs.of(trainer).time.begin_epoch()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide whether this validation is explained."""
        at = self._validation(trainer, pl_module)
        batches = trainer.num_test_batches if at.run.stage == "test" else trainer.num_val_batches
        at.run.begin_validation(len(batches), due=Schedule(at.run.effort).is_due(trainer, at.run))
        self._telling.begin_validation(trainer, at.run)
        if self._engine.hearing is not None:
            self._engine.hearing.begin(at)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Gather the probe before the step may change the batch."""
        at = self._validation(trainer, pl_module)
        if self._engine.hearing is not None:
            self._engine.hearing.begin_batch(at, batch, dataloader_idx)
        self._gathering.see(at, batch, dataloader_idx, is_first=batch_idx == 0)
        if batch_idx == dataloader_idx == 0 and not at.run.tried and at.run.error is None:
            redirected = trainer.strategy.model is not pl_module
            self._step = WatchedStep(pl_module, self.readout, redirected=redirected)

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
        at = self._validation(trainer, pl_module)
        if at.run.listening is not None:
            at.run.listening.end_batch()
        if self._step is not None:
            step, self._step = self._step, None
            step.stop()
            compare_calls(at, step)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain, score and log."""
        at = self._validation(trainer, pl_module)
        self._settle_data(at)
        if trainer.sanity_checking:
            self._engine.rehearsal.check_configuration(at)
            return
        run = at.run
        if run.stage == "fit" and self.max_overhead is not None:
            run.time.note_validation(trainer.fit_loop.total_batch_idx, trainer.global_step)
        run.explained = None
        if run.due:
            self._explain(at)
        run.first = run.first and not run.due
        run.stop_listening()
        if run.stage == "fit":
            promise_keys(self.keys, trainer, pl_module, run)

    def _settle_data(self, at: Validation) -> None:
        """Let ranks agree on what the validation's data have; check the callbacks that watch keys of it."""
        run = at.run
        if run.listening is not None:
            run.listening.stop()
        if run.due or not run.annotated_loaders:
            agree_on_data(at)
        if run.stage == "fit" and run.due and not run.tried:
            keys = self.keys.all(annotated=run.annotated, grouped=run.grouped, loaders=run.loaders)
            check_watchers(at.trainer, self.prefix, keys)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Read the user's own accuracy, which may be logged last: compare with it, and let reports tell it."""
        run = self._runs.of(trainer)
        if run.explained is not None and not trainer.sanity_checking:
            warn_of_accuracy(trainer, run.explained, run.class_counts, run.said)
            with run.time.spent():
                self._telling.end_validation(trainer, run, run.explained)

    on_test_start, on_test_end = on_validation_start, on_validation_end
    on_test_batch_start, on_test_batch_end = on_validation_batch_start, on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

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

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Let reports tell all epochs."""
        run = self._runs.of(trainer)
        run.time.end()
        self._telling.end_fit(trainer, run)

    def _explain(self, at: Validation) -> None:
        run, schedule = at.run, Schedule(at.run.effort)
        with run.time.spent():
            epoch = run.explained = self._engine.explain(at)
        self._latest = epoch or self._latest
        if epoch is not None and schedule.is_in_step(at.trainer, run):
            run.last_step = at.trainer.global_step
        if Schedule(run.effort) != schedule:
            Schedule(run.effort).warn_watchers(at.trainer, self.prefix)

    def _validation(self, trainer: Trainer, module: LightningModule) -> Validation:
        return Validation(trainer, module, self._runs.of(trainer), self.readout)
