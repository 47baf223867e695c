"""Compactness by the minimum spanning tree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_at_least, check_count
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-9  # distances are roots of whole numbers: no two of an image are as close as that


class MSTCompactness(ExplanationMetric):
    """Do the hottest pixels lie together, in few pieces and without holes?

    V are the pixels whose ``|m|`` is at least its 80th percentile. The value is
    ``100 · diagonal · (1 / √hull area) · |V| / L``: the diagonal of the image √(H² + W²), the area of the convex hull
    of the pixels' centres, and the length L of the minimum spanning forest of the graph that joins each pixel of V with
    its 20 nearest. In [0, ∞), higher is more compact, without unit. Undefined for a zero map, and where V has no hull
    of positive area: fewer than three pixels, or all in one line. Fake-CAM fools it: a constant map has all pixels in V
    and scores 141 on a large square image, above scattered ones. So does a map of which more than 80 % are 0,
    however few its hot pixels: read it where maps are dense. A compact map need not be a faithful one.

    Evaluations per image: none, but a tree of 10,000 pixels takes a CPU some tenths of a second.

    Source: Mesgari et al., "Structural Compactness as a Complementary Criterion for Explanation Quality", 2026,
    https://arxiv.org/abs/2603.29491, as MST-C in Quantus. Quantus scores zero maps 0, and puts the diagonal in place of
    √area where there is no hull; it joins 20 of equally near neighbours, whichever come first, where we join all.

    Args:
        percentile: Percentile of ``|m|`` from which pixels count.
        num_neighbours: Nearest pixels with which each is joined, and any that are as near as the last of them.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> heatmaps = torch.zeros(1, 4, 3)
        >>> heatmaps[0, :2, :2] = (
        ...     1.0  # a tree of 3 steps joins 4 pixels, whose centres are the corners of a unit square
        ... )
        >>> metric = MSTCompactness(percentile=90.0)
        >>> metric.update(heatmaps=heatmaps)
        >>> metric.compute()  # 100 · 5 · 1 · 4 / 3
        tensor(666.6667)
    """

    higher_is_better = True
    range = (0.0, float("inf"))
    can_be_undefined = True

    def __init__(self, percentile: float = 80.0, num_neighbours: int = 20, **options: Unpack[MetricOptions]) -> None:
        check_at_least(percentile, 0.0, "percentile")
        if percentile > 100:
            raise ValueError(f"Expected `percentile` to be at most 100, but got {percentile}.")
        check_count(num_neighbours, "num_neighbours")
        super().__init__(**options)
        self.percentile = percentile
        self.num_neighbours = num_neighbours

    def score(self, case: Case) -> Tensor:
        """Return the compactness, (N,); NaN without heat or hull."""
        heat = case.heatmaps.abs()
        # no value lies between two that follow one another, so the upper one cuts as the percentile between them does
        upper = math.ceil(self.percentile * (heat[0].numel() - 1) / 100)
        cut = heat.flatten(1).sort(dim=1).values[:, upper, None, None]
        values = [self._compactness(hot) for hot in heat >= cut]
        return torch.where(heat.flatten(1).any(1), heat.new_tensor(values), torch.nan)

    def _compactness(self, hot: Tensor) -> float:
        """Return the value of one image from its hottest pixels, boolean (H, W)."""
        places = hot.nonzero().cpu().numpy()
        area = _hull_area(places)
        if area == 0:
            return math.nan
        return (
            100 * math.hypot(*hot.shape) / math.sqrt(area) * len(places) / _forest_length(places, self.num_neighbours)
        )


def _hull_area(places: NDArray[Any]) -> float:
    """Return the area of the convex hull of places (n, 2) in whole numbers; 0 if they lie in one line."""
    from scipy.spatial import ConvexHull

    offset = places - places[0]
    farthest = offset[(offset**2).sum(1).argmax()]
    if not (offset[:, 0] * farthest[1] - offset[:, 1] * farthest[0]).any():
        return 0.0
    area: float = ConvexHull(places).volume  # of two dimensions
    return area


def _forest_length(places: NDArray[Any], num_neighbours: int) -> float:
    """Return the length of the minimum spanning forest of the graph that joins each place (n, 2) with its nearest."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import cKDTree

    tree = cKDTree(places)
    distances, _ = tree.query(places, k=min(num_neighbours + 1, len(places)))  # each is nearest to itself
    near = tree.query_ball_point(places, distances[:, -1] * (1 + _ROUNDING))
    first = np.repeat(np.arange(len(places), dtype=np.int32), [len(row) for row in near])
    second = np.concatenate(near).astype(first.dtype)
    lengths = np.sqrt(((places[first] - places[second]) ** 2).sum(1))
    graph = coo_array((lengths, (first, second)), shape=(len(places), len(places)))
    return float(minimum_spanning_tree(graph.tocsr()).sum())
