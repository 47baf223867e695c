"""How much of the way from a random map to a reference a heatmap goes: a ratio of sums over the images."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline
from lightning_xai.evidence.masking.reference_area import OcclusionReference
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap
from lightning_xai.metrics.estimate import standard_error
from lightning_xai.metrics.metric import ExplanationMetric

_GRID = (7, 7)
_LEAST_GAP, _LEAST_ERRORS = 0.02, 2.0


class Skill(ExplanationMetric):
    """A metric whose rows (N, 3) are what the heatmap scores, what the random control and what the reference does.

    Its value is ``Σ (heatmap − control) / Σ (reference − control)``. Ratios per image would have denominators of any
    sign near 0 (values from −41 to 49 were measured), so that an image's own value is only its numerator.
    """

    higher_is_better = True
    can_be_undefined = True

    @staticmethod
    def reference(insertion_baseline: AnyBaseline) -> OcclusionReference:
        """Return the reference: 7×7 cells, each hidden alone by what insertion starts from."""
        return OcclusionReference(OcclusionMap(_GRID, patch=None, baseline=insertion_baseline))

    def per_image(self, rows: Tensor) -> Tensor:
        """Return how much more the heatmap scores than the random control, higher is better."""
        return rows[:, 0] - rows[:, 1]

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the ratio of sums over defined images; NaN where the reference does not clearly beat the control."""
        defined = rows[~rows.isnan().any(1)].double()
        gained, gap = (defined[:, column] - defined[:, 1] for column in (0, 2))
        return torch.where(_is_clear(gap), gained.sum() / gap.sum(), torch.nan).to(rows.dtype)

    def left_out(self, rows: Tensor) -> Tensor:
        """Return the ratio without each image; whether it is defined is asked of all of them together."""
        rows = rows.double()
        gained, gap = rows[:, 0] - rows[:, 1], rows[:, 2] - rows[:, 1]
        return torch.where(_is_clear(gap), (gained.sum() - gained) / (gap.sum() - gap), torch.nan)

    def num_undefined(self, rows: Tensor) -> int:
        """Return how many images the value leaves out: all of them where it is undefined."""
        return len(rows) if len(rows) and bool(self.aggregate(rows).isnan()) else super().num_undefined(rows)


def _is_clear(gap: Tensor) -> Tensor:
    """Return whether the reference beats the control by ``max(2 SE, .02)`` in the mean; no for fewer than two images.

    One-sided: a reference that is worse than a random map measures nothing.
    """
    floor = torch.clamp(_LEAST_ERRORS * standard_error(gap), min=_LEAST_GAP)
    return gap.mean() >= floor
