"""Completeness of explainers that do not promise it."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.faithfulness.completeness import Completeness


class ForcedCompleteness(Completeness):
    """Does the heatmap add up to the score, whether or not its method promises that?

    `Completeness`, which refuses methods that promise nothing of the kind; the paper measured it of all (line 156).
    """

    def score(self, case: Case) -> Tensor:
        """Return the error, (N,)."""
        return self.error_of_sum(case)
