"""Heatmap drift between epochs."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import LARGEST_KEPT, compact
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric


class HeatmapDrift(ExplanationMetric):
    """How much did the explanation of the same image move since the last explained epoch?

    1 − Spearman's correlation (average ranks) between this epoch's heatmap and the previous one of the same image and
    class, both as `compact` keeps them; in [0, 2], without direction: 0 is an explanation that stands still, which is
    good at the end of training and suspicious at its start. Undefined where a heatmap is constant or there is no
    previous one. Fake-CAM stands still for ever.

    Evaluations per image: none.

    Source: this package.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = HeatmapDrift()
        >>> heatmaps = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> metric.update(heatmaps=heatmaps, previous_heatmaps=torch.tensor([[[1.0, 9.0, 5.0]]]))
        >>> metric.compute()  # two neighbours in rank have changed places
        tensor(0.5000)
    """

    higher_is_better = None
    range = (0.0, 2.0)
    inputs = frozenset({"heatmaps", "previous_heatmaps"})
    can_be_undefined = True
    in_default_suite = True

    def score(self, case: Case) -> Tensor:
        """Return the drift, (N,)."""
        previous = case.previous_heatmaps
        size = (min(previous.shape[1], LARGEST_KEPT), min(previous.shape[2], LARGEST_KEPT))
        return 1.0 - spearman(compact(case.heatmaps, size).float(), compact(previous, size).float())
