"""Simulated fits have the means that they are said to have, and heat beside the object raises the alarm."""

from __future__ import annotations

import pytest
import torch

from benchmarks import false_alarms
from benchmarks.setting import Setting


def test_simulated_fits_are_what_they_are_said_to_be():
    epochs = false_alarms.simulated(0, 4000, 0.3, on_border=0.4)
    assert [epoch.epoch for epoch in epochs] == list(range(12))
    found = [epoch.loaders[0] for epoch in epochs]
    heat = torch.stack([one.heat_shares["cam"]["object"] for one in found])
    assert float(heat.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(torch.corrcoef(heat[3:5])[0, 1]) == pytest.approx(0.8, abs=0.02)
    assert float(found[3].heat_shares["cam"]["border"].mean()) == pytest.approx(0.4, abs=0.01)
    assert float(found[5].scores("faithfulness_gain", "cam").estimate().value) == pytest.approx(0.3, abs=0.02)
    assert (found[0].accuracy.value, found[-1].accuracy.value) == pytest.approx((0.7, 0.93))


def test_heat_beside_the_object_is_told_from_heat_on_it():
    found = false_alarms.run(Setting(torch.device("cpu"), quick=True)).rows
    rows = {(row["images"], row["on_object"]): row for row in found if row["on_border"] == 0.1}
    assert rows[32, 0.27]["object"] == "0.0%"
    assert rows[32, 0.1]["object"] == "100.0%"
    assert "border" in false_alarms.raised(false_alarms.simulated(1, 32, 0.27, on_border=0.5))
