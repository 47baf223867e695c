"""What the functions that are made from the metric classes take and say."""

from __future__ import annotations

import inspect

import pytest

from lightning_xai import functional
from lightning_xai.metrics import get_metric, list_metrics


def _parameters(alias):
    return inspect.signature(getattr(functional, alias)).parameters


@pytest.mark.parametrize("alias", list_metrics())
def test_every_argument_is_documented_and_nothing_else(alias):
    function = getattr(functional, alias)
    arguments = function.__doc__.split("Args:\n")[1].split("\n\n")[0]
    named = [
        line.split(":")[0].strip() for line in arguments.splitlines() if line.startswith("    ") and line[4] != " "
    ]
    assert named == list(_parameters(alias))
    assert "Returns:\n    " in function.__doc__
    assert f"See `{type(get_metric(alias)).__name__}`" in function.__doc__


def test_inputs_come_first_and_settings_by_keyword():
    parameters = _parameters("insertion_auc")
    assert list(parameters)[:5] == ["model", "images", "heatmaps", "target", "explainer"]
    assert [p.kind.name for p in parameters.values()] == ["POSITIONAL_OR_KEYWORD"] * 4 + ["KEYWORD_ONLY"] * 6
    assert list(_parameters("pointing_game")) == ["heatmaps", "masks", "tolerance"]
    assert list(_parameters("completeness"))[:5] == ["model", "images", "explainer", "target", "heatmaps"]
    assert "heatmaps" not in _parameters("explanation_time")


@pytest.mark.parametrize(
    ("alias", "returned"),
    [
        ("sparseness", "float32 (N,) in [0, 1], higher is better"),
        ("infidelity", "float32 (N,) in [0, ∞], lower is better; NaN where undefined."),
        ("aopc", "float32 (N,) in [-1, 1], higher is better with the default settings."),
        ("road", "float32 (N,) in [0, 1], lower is better with the default settings."),
        ("haas", "float32 (N,): the difference that the heatmap makes to correctness, in {-1, 0, 1}"),
        ("sufficiency", "float32 (N,): the share of neighbours with the same prediction, in [0, 1]"),
        ("one_pixel_sensitivity", "heat, rank_share, success: float32 (N,) each"),
    ],
)
def test_what_is_returned_is_said(alias, returned):
    assert returned in getattr(functional, alias).__doc__.split("Returns:\n    ")[1]
