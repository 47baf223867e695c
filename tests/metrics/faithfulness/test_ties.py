"""Which of equally hot pixels, cells or superpixels goes first: as if the map fell, or rose, a little along the way."""

from dataclasses import replace

import pytest
import torch

from lightning_xai import get_metric
from lightning_xai.evidence.case import Case

LEVELS = torch.ones(3, 24, 24)
LEVELS[:, 8:16, 8:] = 2.0
SLOPE = torch.arange(24.0 * 24).view(24, 24) * 1e-6


def case(heatmaps):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 22 * 22, 3)
    images = torch.rand(3, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    return Case(torch.nn.Sequential(*layers).eval(), images, torch.tensor([0, 1, 2]), heatmaps=heatmaps)


@pytest.mark.parametrize(
    "name", ["abpc", "aopc", "irof", "road", "monotonicity", "monotonicity_correlation", "faithfulness_estimate"]
)
def test_first_and_last(name):
    metric = get_metric(name)
    assert metric.settings()["ties"] == "random"
    with pytest.raises(ValueError, match=r"^Expected `ties` to be one of 'random', 'first', 'last'"):
        get_metric(name, ties="middle")
    for ties, sign in (("first", -1), ("last", 1)):
        removing = [one for one in get_metric(name, ties=ties).evidence if hasattr(one, "ties")]
        assert removing
        for evidence in removing:
            by_chance = replace(evidence, ties="random")
            # the least relevant first: there the map rises towards what goes later
            slope = (-sign if getattr(evidence, "order", "morf") == "lerf" else sign) * SLOPE
            found, expected, chance = (
                getattr(one, "drop", one)
                for one in (
                    case(LEVELS)[evidence],
                    case(LEVELS + slope)[by_chance],
                    case(LEVELS)[by_chance],
                )
            )
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6, equal_nan=True)
            assert not torch.allclose(found, chance, atol=1e-4, equal_nan=True)
