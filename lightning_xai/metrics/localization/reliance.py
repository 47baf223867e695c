"""Reliance on a named region."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai._checks import check_name
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.removal.hidden_region import HiddenRegion
from lightning_xai.metrics.localization.relevance_mass_accuracy import share_of_heat_inside
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

_NO_HEAT = -1.0


class Reliance(ExplanationMetric):
    """Lesion or marker? How much of the class score hangs on a named region of the image.

    ``[f(x) − f(x without the region)] − [f(x) − f(x without a control region)]``, where what is taken away becomes the
    blurred image. The control region is as large: the region mirrored from left to right or, where that touches any
    named region, the pixels outside of all of them that are nearest to a random one. So it is 0 where hiding anything
    of that size does the same, above 0 where the class needs the region, below 0 where the region speaks against it; in
    [-1, 1], without a better direction: that depends on what the region is. Undefined where an image lacks the region
    or has no room for a control.

    Heat alone does not answer this: a marker may carry little heat and much of the score. `heat_share` says beside it
    how much of the positive heat lies on the region. Logged as ``reliance/<region>``, one metric per region. Fake-CAM
    cannot fool it, because no heatmap is asked; its heat share is the region's share of the image.

    What hides nothing shows no reliance: of a large even shadow the blur is that shadow again (a network right by an
    effusion: .01 by ``"blur"``, .41 by ``"mean"``).

    Evaluations per image: 2, whatever the number of explainers.

    Source: this package.

    Args:
        region: Name of the region, one of the case's ``regions``.
        baseline: What hidden pixels become; see `baseline_images`.
        seed: Of the place of a control region that is not the mirrored one.
        **options: Of `torchmetrics.Metric`.

    Raises:
        TypeError: If ``region`` is no name, or the baseline nothing of the kind.
        ValueError: If ``region`` cannot be part of a key.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0, 1.0, 1.0]]).log()  # odds of 3 to 1, by the first pixel
        >>> marker = torch.tensor([[[True, False, False, False]]])
        >>> metric = Reliance("marker", baseline=0.0)
        >>> given = {"images": torch.ones(1, 1, 1, 4), "regions": {"marker": marker}, "target": 1}
        >>> metric.update(model=net, heatmaps=torch.tensor([[[1.0, 9.0, 0.0, 0.0]]]), **given)
        >>> metric.compute(), metric.heat_share()  # 3/4 without the last pixel, 1/2 without the first
        (tensor(0.2500), tensor(0.1000))
    """

    range = (-1.0, 1.0)
    inputs = frozenset({"heatmaps", "target", "regions"})
    columns = ("reliance", "heat_share")
    can_be_undefined = True
    higher_is_better = None

    def __init__(
        self, region: str = "object", baseline: Baseline = "blur", seed: int = 0, **options: Unpack[MetricOptions]
    ) -> None:
        if "." in check_name(region, "region"):
            raise ValueError(f"Expected `region` to be a name without dots, because it ends a key, but got {region!r}.")
        super().__init__(**options)
        self.region = region
        self.baseline = checked_baseline(baseline)
        self.seed = seed
        self.hidden = HiddenRegion(region, baseline, seed)
        self.key = f"reliance/{region}"  # type: ignore[misc] # one of several metrics of this class in a suite

    @property
    def named_regions(self) -> tuple[str, ...]:
        """The region."""
        return (self.region,)

    def score(self, case: Case) -> Tensor:
        """Return the reliance, and the share of the positive heat on the region (−1 without any), (N, 2)."""
        hidden, control = (
            case.classifier.select(logits, case.target, "probability") for logits in case[self.hidden].unbind(1)
        )
        share = share_of_heat_inside(case.heatmaps, case.regions[self.region]).nan_to_num(_NO_HEAT)
        reliance = control - hidden  # f(x) is on both sides
        return torch.stack([reliance, torch.where(reliance.isnan(), torch.nan, share)], 1)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean reliance."""
        return rows[:, 0].nanmean()

    def heat_share(self) -> Tensor:
        """Return the mean share of the positive heat on the region, of the images so far on this process that have any.

        In [0, 1]; the region's share of the image is chance.
        """
        rows = self.rows
        return rows[rows[:, 1] >= 0, 1].mean() if len(rows) else rows.new_tensor(torch.nan)
