"""Scores before and after an image is seen through its heatmap."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.model.classifier import Score

LEAST_SCORE = 1e-6
"""Probability below which a relative change has no meaning."""


def scores_seen_through(case: Case, masked: MaskedImage, score: Score = "probability") -> tuple[Tensor, Tensor]:
    """Return the target's score of the unchanged and of the masked images, (N,) each.

    Args:
        case: One batch.
        masked: How the heatmap masks the image; where it does not, the second score is NaN.
        score: ``"probability"`` or ``"logit"``.
    """
    before, after = (case.classifier.select(logits, case.target, score) for logits in (case.logits, case[masked]))
    return before, after
