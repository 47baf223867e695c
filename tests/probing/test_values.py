from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.metrics import MetricSuite
from lightning_xai.probing.explained import Answers, explained
from lightning_xai.probing.keys import control_values, metric_values, probe_values

NAN = math.nan


def found(logits, target, labels, task="multiclass"):
    answers = Answers(torch.tensor(logits), torch.tensor(target), {}, {}, {}, {})
    return explained(answers, list(range(len(labels))), labels, task, {})


def scored(suite, rows, control=None):
    """Return what is known about as many images as there are rows, by one explainer."""
    count = len(next(iter(rows.values())))
    target = torch.zeros(count, dtype=torch.int64)
    answers = Answers(torch.zeros(count, 2), target, {"grad_cam": rows}, control or {}, {}, {})
    return explained(answers, list(range(count)), [0] * count, "multiclass", suite.explanation_metrics())


def pair(estimate):
    return pytest.approx((estimate.value, estimate.error), nan_ok=True)


def test_mean_standard_error_gain_and_undefined():
    suite = MetricSuite(["insertion_deletion", "max_sensitivity"])
    rows = {"faithfulness": torch.tensor([0.5, 0.1, 0.6]), "max_sensitivity": torch.tensor([1.0, NAN, 3.0])}
    control = {"faithfulness": torch.tensor([0.2, 0.1, 0.0])}
    known = scored(suite, rows, control)
    values = metric_values(known, "grad_cam")
    gain = torch.tensor([0.3, 0.0, 0.6])
    assert (0.4, rows["faithfulness"].std().item() / math.sqrt(3)) == pair(values["faithfulness"])
    assert (0.3, gain.std().item() / math.sqrt(3)) == pair(values["faithfulness_gain"])  # paired
    assert pair(values["max_sensitivity"]) == (2.0, 1.0)
    assert pair(values["undefined/max_sensitivity"]) == (1.0, NAN)
    assert values["max_sensitivity"].undefined == 1
    assert {name: (0.1, 0.1 / math.sqrt(3)) == pair(one) for name, one in control_values(known).items()} == {
        "control/faithfulness": True
    }


def test_a_gain_is_positive_where_lower_is_better():
    suite = MetricSuite(["pixel_flipping"])
    better = next(iter(suite.explanation_metrics().values())).higher_is_better
    rows, control = {"pixel_flipping": torch.tensor([0.2, 0.3])}, {"pixel_flipping": torch.tensor([0.6, 0.8])}
    expected = -0.45 if better else 0.45
    values = metric_values(scored(suite, rows, control), "grad_cam")
    assert values["pixel_flipping_gain"].value == pytest.approx(expected)


def test_rows_of_several_numbers_use_their_aggregate():
    suite = MetricSuite(["box_localization"])
    rows = {"box_localization": torch.tensor([[1.0, 0.7], [0.0, 0.2], [NAN, NAN]])}
    values = metric_values(scored(suite, rows), "grad_cam")
    assert pair(values["box_localization"]) == (0.5, 0.5)
    assert values["undefined/box_localization"].value == 1.0


def test_probe_values_of_several_classes():
    known = found([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [0, 0, 0], [0, 0, -1])
    values = probe_values(known, "multiclass")
    confidence = [1 / (1 + math.exp(-x)) for x in (2.0, 1.0, 3.0)]
    assert values["probe_accuracy"].value == 0.5  # the last has no label
    assert values["probe_confidence"].value == pytest.approx(sum(confidence) / 3)


def test_probe_values_of_two_classes_by_one_logit():
    known = found([[-2.0, 2.0], [1.0, -1.0]], [1, 1], [1, 1], "binary")
    values = probe_values(known, "binary")
    assert values["probe_accuracy"].value == 0.5
    assert values["probe_confidence"].value == pytest.approx(sum(1 / (1 + math.exp(-x)) for x in (2.0, 1.0)) / 2)


def test_probe_values_of_many_labels_ask_for_the_label_not_the_explained_class():
    known = found([[2.0, -1.0], [-3.0, 1.0]], [1, 0], [0, 1], "multilabel")  # explained: the least probable
    values = probe_values(known, "multilabel")
    assert values["probe_accuracy"].value == 1.0
    assert values["probe_confidence"].value == pytest.approx(sum(1 / (1 + math.exp(-x)) for x in (2.0, 1.0)) / 2)


def test_without_labels_there_is_no_accuracy():
    accuracy = probe_values(found([[2.0, 0.0]], [0], [-1]), "multiclass")["probe_accuracy"]
    assert math.isnan(accuracy.value)
    assert math.isnan(accuracy.error)
