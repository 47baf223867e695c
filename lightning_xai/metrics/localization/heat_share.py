"""Share of the heat on a named region."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_choice, check_name
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.localization.relevance_mass_accuracy import share_of_heat_inside
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class HeatShare(ExplanationMetric):
    """How much of the heat lies on a named region, such as a lesion, a marker or the border?

    Positive heat inside the region over all positive heat, in [0, 1], without a better direction: that depends on what
    the region is. Undefined without positive heat or where an image lacks the region. Chance, and Fake-CAM's score, is
    the region's share of the image. Heat is not reliance: a marker may carry little heat and much of the score, as
    `Reliance` shows. Logged as ``heat_in/<region>``, one metric per region; the monitor scores it by itself for every
    region that `Reliance` or `NuisanceMass` names.

    Evaluations per image: none.

    Source: this package.

    Args:
        region: Name of the region, one of the case's ``regions``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        TypeError: If ``region`` is no name.
        ValueError: If ``region`` cannot be part of a key.

    Example:
        >>> import torch
        >>> metric = HeatShare("marker")
        >>> marker = torch.tensor([[[True, False, False, False]]])
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0, 0.0, -5.0]]]), regions={"marker": marker})
        >>> metric.compute()  # negative heat does not count
        tensor(0.2500)
    """

    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "regions"})
    can_be_undefined = True
    higher_is_better = None

    def __init__(self, region: str = "object", **options: Unpack[MetricOptions]) -> None:
        if "." in check_name(region, "region"):
            raise ValueError(f"Expected `region` to be a name without dots, because it ends a key, but got {region!r}.")
        super().__init__(**options)
        self.region = region
        self.key = f"heat_in/{region}"  # type: ignore[misc] # one of several metrics of this class in a suite

    @property
    def named_regions(self) -> tuple[str, ...]:
        """The region."""
        return (self.region,)

    def score(self, case: Case) -> Tensor:
        """Return the share of the positive heat on the region, (N,)."""
        check_choice(self.region, list(case.regions), "region")
        return share_of_heat_inside(case.heatmaps, case.regions[self.region])
