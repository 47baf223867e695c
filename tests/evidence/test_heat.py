from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.evidence import heat


@pytest.mark.parametrize("percentile", [0.0, 10.0, 37.5, 100.0])
@pytest.mark.parametrize("most", [1, 150, 16_000_000])  # a row at a time, two rows, all
def test_percentile_of_the_positive_values_is_numpys(monkeypatch, percentile, most):
    monkeypatch.setattr(heat, "_MOST_QUANTILE_VALUES", most)
    heatmaps = torch.randn(5, 7, 9)
    heatmaps[2] = -heatmaps[2].abs()
    heatmaps[3] = heatmaps[3].clamp(max=0.0)
    heatmaps[3, 1, 1] = 2.0
    positive = [one[one > 0] for one in heatmaps.double().numpy()]
    expected = [np.percentile(values, percentile) if len(values) else math.inf for values in positive]
    assert heat.positive_percentile(heatmaps, percentile).tolist() == pytest.approx(expected, rel=1e-6)


def test_percentile_that_is_a_value_is_that_value():
    heatmaps = torch.rand(4, 1, 11) + 0.1  # the tenth part of ten steps between eleven values is the second value
    assert torch.equal(heat.positive_percentile(heatmaps, 10.0), heatmaps.flatten(1).sort(1).values[:, 1])


def test_more_values_than_torch_takes_at_once():
    heatmaps = torch.ones(5, 1800, 2000)
    heatmaps[:, 0, 0] = 0.0
    assert heat.positive_percentile(heatmaps, 10.0).tolist() == [1.0] * 5
