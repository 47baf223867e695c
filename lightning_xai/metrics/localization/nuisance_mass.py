"""Heat on what must not matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_choice, check_name
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.localization.relevance_mass_accuracy import share_of_heat_inside
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

_BORDER = 16


class NuisanceMass(ExplanationMetric):
    """How much heat lies on what must not matter, such as a marker or the border?

    Positive heat inside the named regions over all positive heat, divided by the regions' share of the image. ≥ 0, 1 is
    chance, lower is better. Several regions count as one. Without names it is the border: the pixels whose centres lie
    within 1/16 of a side, at least one pixel. Undefined without positive heat, or where an image has none of the
    regions. Fake-CAM scores 1. Heat is not reliance: see `Reliance` for what the score itself hangs on.

    Evaluations per image: none.

    Source: this package.

    Args:
        names: Of the case's ``regions``, or one of them; None for the border, which needs no annotation.
        **options: Of `torchmetrics.Metric`.

    Raises:
        TypeError: If ``names`` holds something else than names.
        ValueError: If ``names`` is empty, or a name cannot be that of a region.

    Example:
        >>> metric = NuisanceMass(["marker"])
        >>> marker = torch.tensor([[[True, False, False, False]]])
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0, 0.0, -5.0]]]), regions={"marker": marker})
        >>> metric.compute()  # a quarter of the heat on a quarter of the image
        tensor(1.)
    """

    higher_is_better = False
    range = (0.0, math.inf)
    optional_inputs = frozenset({"regions"})
    can_be_undefined = True

    def __init__(self, names: Sequence[str] | None = None, **options: Unpack[MetricOptions]) -> None:
        listed = [names] if isinstance(names, str) else names
        if listed is not None and not listed:
            raise ValueError("Expected `names` to hold at least one name, or to be None for the border, but got none.")
        super().__init__(**options)
        self.names = None if listed is None else tuple(check_name(name, "names") for name in listed)

    @property
    def all_inputs(self) -> frozenset[str]:
        """Fields of a case that the metric reads: the heatmaps, and the regions if it names some."""
        return super().all_inputs if self.names is None else super().all_inputs | {"regions"}

    @property
    def named_regions(self) -> tuple[str, ...]:
        """The regions; none of the border, which needs no annotation."""
        return self.names or ()

    def score(self, case: Case) -> Tensor:
        """Return the heat on the regions over their share of the image, (N,)."""
        area = border_of(case.heatmaps) if self.names is None else self._named(case.regions)
        return share_of_heat_inside(case.heatmaps, area) / area.flatten(1).float().mean(1)

    def _named(self, regions: Mapping[str, Tensor]) -> Tensor:
        for name in self.names or ():
            check_choice(name, list(regions), "names")
        return torch.stack([regions[name] for name in self.names or ()]).any(0)


def border_of(heatmaps: Tensor) -> Tensor:
    """Return the pixels within 1/16 of a side, and at least the outermost, boolean (N, H, W)."""
    border = torch.ones_like(heatmaps, dtype=torch.bool)
    down, across = (max(1, math.ceil(length / _BORDER - 0.5)) for length in heatmaps.shape[1:])
    border[:, down : heatmaps.shape[1] - down, across : heatmaps.shape[2] - across] = False
    return border
