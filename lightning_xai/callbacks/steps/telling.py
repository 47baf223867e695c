"""Let reports tell an epoch, the end of its validation, and the end of a fit: on rank zero, and each fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.validation import Validation
from lightning_xai.probing.explained import ExplainedEpoch, moment_of
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.sample import Sample
from lightning_xai.reports.accuracy_alignment import AccuracyAlignment
from lightning_xai.reports.breakdown import Breakdown
from lightning_xai.reports.filmstrip import Filmstrip
from lightning_xai.reports.grid import Grid
from lightning_xai.reports.html.html_report import HtmlReport
from lightning_xai.reports.maps import Maps
from lightning_xai.reports.numbers import History, Scalars
from lightning_xai.reports.report import Report, Run

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer


@dataclass(frozen=True)
class Telling:
    """The reports of a monitor, and what they want to know.

    Attributes:
        reports: Who tells.
        keys: The names of what is logged.
        private: Whether they keep images and ids to themselves.
    """

    reports: tuple[Report, ...]
    keys: Keys
    private: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if a report names a value that is not logged."""
        for report in self.reports:
            report.check_keys(self.keys)

    @property
    def wants_logits(self) -> bool:
        """Whether a report reads the logits of the whole validation."""
        return any(report.wants_validation_logits for report in self.reports)

    @property
    def num_failures(self) -> int:
        """How many failures of each loader the reports show."""
        return 0 if self.private else max((report.num_failures() for report in self.reports), default=0)

    @property
    def followed(self) -> tuple[str, ...]:
        """Ids of the images that reports show whatever the model says."""
        names = {name for report in self.reports for name in report.followed_images()}
        return () if self.private else tuple(sorted(names))

    def check(self, samples: Iterable[Sample]) -> None:
        """Raise ValueError if a report cannot draw or write such images."""
        for report in self.reports:
            check: Callable[[object], None] | None = getattr(report, "check", None)
            if check is not None:
                for sample in samples:
                    check(sample)

    def begin_validation(self, trainer: Trainer, run: RunState) -> None:
        """Let what reports read of the user's metrics be this validation's own; every rank must call it."""
        if self._later:
            run.logged.leave_out_earlier(trainer)

    def publish(self, at: Validation) -> frozenset[str]:
        """Let reports tell an explained epoch; return the full keys of the values that are for loggers, too."""
        on_cpu = {i: {name: maps.cpu() for name, maps in by_name.items()} for i, by_name in at.heatmaps.items()}
        told = self.run_for_reports(at.trainer, at.run, heatmaps=on_cpu, validation=at.logits, failures=at.failures)
        epoch = at.epoch
        self._tell(at.trainer, self.reports, f"epoch {epoch.epoch}", lambda report: report.publish(epoch, told))
        return frozenset(told.to_loggers)

    def end_validation(self, trainer: Trainer, run: RunState, epoch: ExplainedEpoch) -> None:
        """Note what is logged beside an explanation, and let reports tell what needs it; every rank must call it."""
        later = self._later
        if later:
            run.logged.now = moment_of(epoch)
            run.logged.note(trainer, lambda name: any(report.wants_logged(name) for report in later))
            told = self.run_for_reports(trainer, run)
            self._tell(trainer, later, f"epoch {epoch.epoch}", lambda report: report.end_validation(epoch, told))

    def end_fit(self, trainer: Trainer, run: RunState) -> None:
        """Let reports tell a fit that ends."""
        if run.epochs:
            told = self.run_for_reports(trainer, run)
            self._tell(trainer, self.reports, "the fit", lambda report: report.end_fit(told))

    def run_for_reports(self, trainer: Trainer, run: RunState, **of_this_epoch: Any) -> Run:
        """Return what reports may read of a run; heatmaps, logits and failures only while an epoch is told."""
        return Run(
            trainer,
            run.folder,
            self.keys,
            run.epochs,
            run.probes,
            several_loaders=run.num_loaders > 1,
            private=self.private,
            logged=run.logged.by_moment,
            **{"heatmaps": {}, **of_this_epoch},
        )

    @property
    def _later(self) -> list[Report]:
        """The reports that read what the user's validation logs, which is known when it ends."""
        # a page is made of what `Maps` writes in the same step, wherever users name it
        return sorted((one for one in self.reports if one.reads_logged), key=lambda one: isinstance(one, HtmlReport))

    @staticmethod
    def _tell(trainer: Trainer, reports: Iterable[Report], what: str, verb: Callable[[Report], object]) -> None:
        """Let each report do ``verb`` about ``what``, such as "epoch 3"; warn of those that fail."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        for report in reports:
            try:
                verb(report)
            except Exception as error:  # a full disk or a silent server must not end the run, nor another report
                name = type(report).__name__
                rank_zero_warn(f"ExplanationMonitor's {name} could not tell {what}: {type(error).__name__}: {error}")


def checked_reports(reports: Report | Sequence[Report] | None) -> tuple[Report, ...]:
    """Return reports as they were given, the usual ones for None.

    Raises:
        TypeError: If one is none.
    """
    if reports is None:
        return (Scalars(), History(), Maps(), Grid(), Filmstrip(), Breakdown(), AccuracyAlignment(), HtmlReport())
    given = (reports,) if isinstance(reports, Report) else tuple(reports)
    for report in given:
        if not isinstance(report, Report):
            raise TypeError(f"Expected `reports` to hold reports such as Grid(), but got {type(report).__name__}.")
    return given
