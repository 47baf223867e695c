"""Every value in every logger."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_xai.probing.explained import ExplainedEpoch
from lightning_xai.reports.report import Report, Run


@dataclass(frozen=True)
class Scalars(Report):
    """Log every value beside the user's own, in Lightning's own row.

    Monitors such as `EarlyStopping` see the values whether or not this report is there.
    """

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Hand all values to the loggers."""
        run.to_loggers.update(epoch.estimates)
