from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.functional import heat_share
from lightning_xai.metrics import HeatShare, NuisanceMass, Reliance, Sparseness
from lightning_xai.probing.plan import Plan
from tests.metrics._harness import Entry


def _reference(view, region="object"):
    heat = [max(value, 0.0) for value in view.heat.flatten()]
    inside = view.regions[region].flatten()
    if not sum(heat) or not inside.any():
        return math.nan
    return math.fsum(value for value, yes in zip(heat, inside, strict=True) if yes) / math.fsum(heat)


ENTRY = Entry("heat_share", ("heatmaps", "regions"), _reference, variants=({"region": "box"},))


def test_by_hand():
    heatmaps = torch.tensor([[[1.0, 3.0, -4.0, 0.0]], [[0.0, 0.0, -1.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]]])
    marker = torch.tensor([[[True, False, True, False]]] * 2 + [[[False] * 4]])
    values = heat_share(heatmaps, region="marker", regions={"marker": marker})
    torch.testing.assert_close(values, torch.tensor([0.25, torch.nan, torch.nan]), equal_nan=True)


def test_it_is_what_stands_beside_reliance_and_below_nuisance_mass():
    """The same heat: NuisanceMass is the share over the area's, Reliance's second column is the share."""
    heatmaps = torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(0))
    marker = torch.zeros(4, 6, 6, dtype=torch.bool)
    marker[:, 1:3, 1:4] = True
    regions = {"marker": marker}
    share, mass = HeatShare("marker"), NuisanceMass("marker")
    for metric in (share, mass):
        metric.update(heatmaps=heatmaps, regions=regions)
    torch.testing.assert_close(share.rows / (6 / 36), mass.rows)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))
    reliance = Reliance("marker")
    reliance.update(model=net, images=torch.rand(4, 1, 6, 6), heatmaps=heatmaps, regions=regions, target=1)
    torch.testing.assert_close(share.rows, reliance.rows[:, 1])


def test_a_region_that_no_one_named_is_said():
    with pytest.raises(ValueError, match="Expected `region` to be one of 'lesion', but got 'marker'"):
        HeatShare("marker").update(heatmaps=torch.rand(1, 4, 5), regions={"lesion": torch.ones(1, 4, 5)})


@pytest.mark.parametrize(("region", "error"), [("a.b", ValueError), ("", ValueError), (3, TypeError)])
def test_names_that_cannot_end_a_key(region, error):
    with pytest.raises(error, match="region"):
        HeatShare(region)


class TestBesideOtherMetrics:
    """The monitor's plan adds it for every region that some metric names."""

    def names(self, metrics):
        return list(Plan("grad_cam", metrics).metrics(annotated=False))

    def test_once_for_each_region(self):
        given = [Reliance("lesion"), Reliance("marker"), NuisanceMass(["marker", "text"])]
        asked = ["reliance/lesion", "reliance/marker", "nuisance_mass"]
        assert sorted(self.names(given)) == sorted([*asked, "heat_in/lesion", "heat_in/marker", "heat_in/text"])

    def test_not_where_it_is_asked_for_or_no_region_is_named(self):
        given = {"nuisance": NuisanceMass(["marker"]), "share": HeatShare("marker")}
        assert self.names(given) == ["nuisance", "share"]
        assert self.names([NuisanceMass(), Sparseness()]) == ["nuisance_mass", "sparseness"]

    def test_it_costs_nothing(self):
        plan = Plan("grad_cam", [Reliance("marker")])
        assert plan.metrics(annotated=False)["heat_in/marker"].evaluations() == 0
        assert plan.evaluations(annotated=False) == 1 + 1 + 2  # logits, heatmap, both hidden regions
