from __future__ import annotations

import pytest
import torch

from lightning_xai.evidence import Case
from lightning_xai.functional import insertion_auc, insertion_skill
from lightning_xai.metrics import FaithfulnessSkill, InsertionSkill, MetricSuite
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net
from tests.metrics.faithfulness import _skill


def _reference(view, num_steps="radau", ties="random", seed=0):
    return _skill.rows(view, lambda one: _naive.area_under(one, "insertion", "blur", num_steps, ties, seed))


ENTRY = Entry(
    "insertion_skill",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"num_steps": 7, "ties": "first"}, {"num_steps": 10, "ties": "last"}, {"num_steps": 3, "seed": 9}),
    value=_skill.value,
    left_out=_skill.left_out,
    per_image=lambda rows: rows[:, 0] - rows[:, 1],
    undefined_by_model=True,
    shared=3,
)


def test_one_image_s_value_is_its_numerator():
    batch, net = Batch.draw(5), tiny_net()
    given = ENTRY.given(batch, net)
    control = _skill.random_control
    random = torch.stack([torch.from_numpy(control(_skill.View(batch[[i]], net))).float() for i in range(len(batch))])
    expected = insertion_auc(**given) - insertion_auc(**{**given, "heatmaps": random})
    torch.testing.assert_close(insertion_skill(**given), expected, rtol=0, atol=1e-5)


def test_beside_faithfulness_skill_it_costs_nothing():
    batch, net = Batch.draw(3), tiny_net()
    counter, costs = EvaluationCount(net), []
    for metrics in ([FaithfulnessSkill(5)], [FaithfulnessSkill(5), InsertionSkill(5)]):
        counter.images = 0
        MetricSuite(metrics).score(Case(net, batch.images, batch.target, heatmaps=batch.heatmaps))
        costs.append(counter.images / 3)
    assert costs == [1 + 49 + 6 * 5] * 2


@pytest.mark.parametrize("baseline", [0.0, "mean", [0.1, 0.2, 0.3]])
def test_the_reference_hides_its_cells_by_what_insertion_starts_from(baseline):
    metric = InsertionSkill(baseline=baseline)
    assert metric.occlusion.baseline == metric.curve.baseline == metric.reference_area.heatmaps.occlusion.baseline
    assert metric.occlusion.grid == (7, 7)
