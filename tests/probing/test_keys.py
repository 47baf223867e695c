from __future__ import annotations

import pytest

from lightning_xai.metrics import get_metric, list_metrics
from lightning_xai.probing.keys import SHARED_KEYS, Key, control_keys, metric_keys, stripped_prefix


def keys_of(alias):
    metric = get_metric(alias)
    return {key.name: key for key in metric_keys(metric.key, metric, 32)}


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        (
            "insertion_deletion",
            [Key("faithfulness", -1.0, higher_is_better=True), Key("faithfulness_gain", -2.0, higher_is_better=True)],
        ),
        ("deletion_auc", [Key("deletion_auc", 1.0, higher_is_better=False)]),
        (
            "max_sensitivity",
            [
                Key("max_sensitivity", 1e30, higher_is_better=False),
                Key("undefined/max_sensitivity", 32.0, higher_is_better=False),
            ],
        ),
        # a standing heatmap is neither good nor bad: the end that the usual mode "min" does not prefer
        ("heatmap_drift", [Key("heatmap_drift", 2.0), Key("undefined/heatmap_drift", 32.0, higher_is_better=False)]),
        (
            "pointing_game",
            [
                Key("pointing_game", 0.0, higher_is_better=True),
                Key("undefined/pointing_game", 32.0, higher_is_better=False),
            ],
        ),
    ],
)
def test_keys_of_a_metric(alias, expected):
    assert keys_of(alias) == {key.name: key for key in expected}


@pytest.mark.parametrize("alias", list_metrics())
def test_stand_ins_are_finite_and_never_better_than_a_value(alias):
    metric = get_metric(alias)
    low, high = metric.range
    for key in keys_of(alias).values():
        assert abs(key.worst) <= 1e30
        if key.name == metric.key:
            assert key.worst <= max(low, -1e30) if metric.higher_is_better else key.worst >= min(high, 1e30)


def test_only_what_logs_a_gain_has_a_control():
    assert control_keys("faithfulness", get_metric("insertion_deletion")) == [
        Key("control/faithfulness", -1.0, higher_is_better=True)
    ]
    assert control_keys("sparseness", get_metric("sparseness")) == []


def test_shared_keys():
    assert {key.name: key.worst for key in SHARED_KEYS} == {
        "probe_accuracy": 0.0,
        "probe_confidence": 1.0,
        "seconds": 1e30,
        "model_evaluations": 1e30,
    }


def test_prefix():
    assert stripped_prefix("/val/xai/") == "val/xai"
    with pytest.raises(ValueError, match=r"Expected `prefix` to be a word such as 'xai', but got '//'\."):
        stripped_prefix("//")
    with pytest.raises(TypeError, match=r"Expected `prefix` to be a word such as 'xai', but got int\."):
        stripped_prefix(3)
