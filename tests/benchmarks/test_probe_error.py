"""The error of a mean over a probe, judged from few images, against the same by simulation."""

from __future__ import annotations

import pytest
import torch

from benchmarks.probe_error import PROBE, of_a_mean


def test_error_of_a_mean_by_hand():
    error = torch.tensor([0.1, -0.1, 0.3, 0.5])
    assert error.var() == pytest.approx(0.2 / 3)
    assert float(of_a_mean(error)) == pytest.approx((0.2**2 - 0.2 / 3 / 4 + 0.2 / 3 / PROBE) ** 0.5)
    pairs = torch.tensor([0, 0, 1, 1])  # sums of the residuals: -.4 and .4
    assert float(of_a_mean(error, pairs)) == pytest.approx((0.2 / 3 / PROBE) ** 0.5)  # 2 · .32 / 16 > .2²
    assert torch.equal(of_a_mean(error, torch.tensor([5, 3, 9, 0])), of_a_mean(error))


@pytest.mark.parametrize(("of_a_group", "bias"), [(1, 0.0), (1, 0.5), (3, 0.5)])
def test_few_images_tell_the_error_that_probes_have(of_a_group, bias):
    torch.manual_seed(0)
    group = torch.arange(13).repeat_interleave(of_a_group)
    shared = torch.randn(len(group) // of_a_group, 4000)[group] * (0.8 if of_a_group > 1 else 0.0)
    errors = bias + shared + torch.randn(len(group), 4000) * (0.6 if of_a_group > 1 else 1.0)
    found = of_a_mean(errors, group).square().mean()
    truth = bias**2 + 1.0 / PROBE
    clipped = 0.5 / 13 if bias == 0 else 0.0  # no bias is told as some, where chance makes one
    assert float(found) == pytest.approx(truth, abs=clipped + 0.02)
