"""Numbers do not move: every metric and explainer gives what it gave when the file was written, at no greater cost."""

import numpy as np
import pytest

from lightning_xai import list_explainers, list_metrics
from tests import _frozen

CASES = list(_frozen.cases())
NEW = {  # did not exist when the file was written
    "faithfulness_skill",
    "heat_share",
    "insertion_skill",
    "mst_compactness",
    "normalized",
    "nuisance_mass",
    "reliance",
}
MEASURED = {"captum_explainer", "explanation_time"}  # a wrapper without a value of its own; seconds


def close(found, expected):
    found, expected = (np.array(values, dtype=float) for values in (found, expected))
    scale = max(np.nanmax(np.abs(expected), initial=0.0), 1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * min(scale, 1.0))


@pytest.mark.parametrize(
    ("kind", "alias", "case"), CASES, ids=[f"{alias}-{number}" for number, (_, alias, _) in enumerate(CASES)]
)
def test_the_numbers_of_before(kind, alias, case):
    if kind == "explainers":
        found = _frozen.explainer_values(alias, case["settings"])
    else:
        found = _frozen.metric_values(alias, case["settings"], case["arguments"])
    assert found.pop("evaluations") <= case["evaluations"]
    for name, value in found.items():
        close(value, case[name])


def test_nothing_is_left_out():
    frozen = {alias for _, alias, _ in CASES}
    assert frozen | NEW | MEASURED >= {*list_explainers(), *list_metrics()}
    assert len(CASES) > 150


@pytest.mark.parametrize("wrong", [1.001, 0.999])
def test_the_comparison_sees_a_tenth_of_a_percent(wrong):
    values = next(case["values"] for kind, alias, case in CASES if alias == "grad_cam")
    with pytest.raises(AssertionError):
        close(np.array(values) * wrong, values)
