"""Scores before and after an image is seen through its heatmap."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.model.classifier import Score

LEAST_SCORE = 1e-6
"""Probability below which a relative change has no meaning."""


def scores_seen_through(case: Case, evidence: Evidence, score: Score = "probability") -> tuple[Tensor, Tensor]:
    """Return the target's score of the unchanged and of the masked images, (N,) each.

    Args:
        case: One batch.
        evidence: Logits (N, K) of the masked images, NaN where there is no mask.
        score: ``"probability"`` or ``"logit"``.
    """
    classifier, masked = case.classifier, case[evidence]
    return classifier.select(case.logits, case.target, score), classifier.select(masked, case.target, score)
