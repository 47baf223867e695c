from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.callbacks.study import Findings
from lightning_xai.callbacks.summary import control_values, metric_values, probe_values
from lightning_xai.metrics import MetricSuite

NAN = math.nan


def findings(logits, target):
    return Findings(torch.tensor(logits), torch.tensor(target), {}, {}, {}, {})


def test_mean_standard_error_gain_and_undefined():
    suite = MetricSuite(["insertion_deletion", "max_sensitivity"])
    rows = {"faithfulness": torch.tensor([0.5, 0.1, 0.6]), "max_sensitivity": torch.tensor([1.0, NAN, 3.0])}
    control = {"faithfulness": torch.tensor([0.2, 0.1, 0.0])}
    values = metric_values(rows, control, suite)
    gain = torch.tensor([0.3, 0.0, 0.6])
    assert values["faithfulness"] == pytest.approx((0.4, rows["faithfulness"].std().item() / math.sqrt(3)))
    assert values["faithfulness_gain"] == pytest.approx((0.3, gain.std().item() / math.sqrt(3)))  # paired
    assert values["max_sensitivity"] == pytest.approx((2.0, 1.0))
    assert values["undefined/max_sensitivity"] == pytest.approx((1.0, NAN), nan_ok=True)
    assert control_values(control, suite) == {"control/faithfulness": pytest.approx((0.1, 0.1 / math.sqrt(3)))}


def test_a_gain_is_positive_where_lower_is_better():
    suite = MetricSuite(["pixel_flipping"])
    better = next(iter(suite.explanation_metrics().values())).higher_is_better
    rows, control = {"pixel_flipping": torch.tensor([0.2, 0.3])}, {"pixel_flipping": torch.tensor([0.6, 0.8])}
    expected = -0.45 if better else 0.45
    assert metric_values(rows, control, suite)["pixel_flipping_gain"][0] == pytest.approx(expected)


def test_rows_of_several_numbers_use_their_aggregate():
    suite = MetricSuite(["box_localization"])
    rows = {"box_localization": torch.tensor([[1.0, 0.7], [0.0, 0.2], [NAN, NAN]])}
    values = metric_values(rows, {}, suite)
    assert values["box_localization"] == pytest.approx((0.5, 0.5))
    assert values["undefined/box_localization"][0] == 1.0


def test_probe_values_of_several_classes():
    found = findings([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [0, 0, 0])
    values = probe_values(found, torch.tensor([0, 0, -1]), "multiclass")
    confidence = [1 / (1 + math.exp(-x)) for x in (2.0, 1.0, 3.0)]
    assert values["probe_accuracy"][0] == 0.5  # the last has no label
    assert values["probe_confidence"][0] == pytest.approx(sum(confidence) / 3)


def test_probe_values_of_two_classes_by_one_logit():
    found = findings([[-2.0, 2.0], [1.0, -1.0]], [1, 1])
    values = probe_values(found, torch.tensor([1, 1]), "binary")
    assert values["probe_accuracy"][0] == 0.5
    assert values["probe_confidence"][0] == pytest.approx(sum(1 / (1 + math.exp(-x)) for x in (2.0, 1.0)) / 2)


def test_probe_values_of_many_labels_ask_for_the_label_not_the_explained_class():
    found = findings([[2.0, -1.0], [-3.0, 1.0]], [1, 0])  # explained: the least probable
    values = probe_values(found, torch.tensor([0, 1]), "multilabel")
    assert values["probe_accuracy"][0] == 1.0
    assert values["probe_confidence"][0] == pytest.approx(sum(1 / (1 + math.exp(-x)) for x in (2.0, 1.0)) / 2)


def test_without_labels_there_is_no_accuracy():
    value, error = probe_values(findings([[2.0, 0.0]], [0]), torch.tensor([-1]), "multiclass")["probe_accuracy"]
    assert math.isnan(value)
    assert math.isnan(error)
