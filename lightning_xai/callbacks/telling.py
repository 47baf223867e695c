"""Let reports tell an epoch, the end of its validation, and the end of a fit: on rank zero, and each fails alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_xai.callbacks.run_state import RunState
from lightning_xai.probing.explained import ExplainedEpoch, moment_of
from lightning_xai.probing.failures import Failure
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.validation import ValidationLogits
from lightning_xai.reports.report import Report, Run

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer


def run_for_reports(
    trainer: Trainer,
    run: RunState,
    keys: Keys,
    heatmaps: Mapping[int, Mapping[str, Tensor]] | None = None,
    validation: Mapping[int, ValidationLogits] | None = None,
    failures: Mapping[int, Sequence[Failure]] | None = None,
    *,
    private: bool,
) -> Run:
    """Return what reports may read of a run; heatmaps and logits only while an epoch is told."""
    return Run(
        trainer,
        run.folder,
        keys,
        run.epochs,
        run.probes,
        heatmaps or {},
        run.num_loaders > 1,
        private=private,
        validation=validation or {},
        logged=run.logged.by_moment,
        failures=failures or {},
    )


def tell(trainer: Trainer, reports: Sequence[Report], what: str, verb: Callable[[Report], object]) -> None:
    """Let each report do ``verb`` about ``what``, such as "epoch 3"; warn of those that fail."""
    if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
        return
    for report in reports:
        try:
            verb(report)
        except Exception as error:  # a full disk or a silent server must not end the run, nor another report
            rank_zero_warn(
                f"ExplanationMonitor's {type(report).__name__} could not tell {what}: {type(error).__name__}: {error}"
            )


def end_validation(
    trainer: Trainer, run: RunState, keys: Keys, reports: Sequence[Report], epoch: ExplainedEpoch, *, private: bool
) -> None:
    """Note what is logged beside an explanation, and let reports tell what needs it; every rank must call it."""
    later = [report for report in reports if report.reads_logged]
    if later:
        run.logged.now = moment_of(epoch)
        run.logged.note(trainer, lambda name: any(report.wants_logged(name) for report in later))
        told = run_for_reports(trainer, run, keys, private=private)
        tell(trainer, later, f"epoch {epoch.epoch}", lambda report: report.end_validation(epoch, told))


def end_fit(trainer: Trainer, run: RunState, keys: Keys, reports: Sequence[Report], *, private: bool) -> None:
    """Let reports tell a fit that ends."""
    if run.epochs:
        told = run_for_reports(trainer, run, keys, private=private)
        tell(trainer, reports, "the fit", lambda report: report.end_fit(told))
