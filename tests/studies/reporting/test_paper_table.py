"""Tables in a paper's layout: our numbers by hand, the paper's beside them, and the difference."""

import math
from dataclasses import replace

import pytest

from lightning_xai.comparison import Cell
from lightning_xai.studies import Findings
from lightning_xai.studies.reporting.paper_table import PaperTable
from lightning_xai.studies.reporting.printed import PrintedNumber
from tests.studies._made import made_findings

VALUES = {
    ("u-s0", "a"): [0.2, 0.4],
    ("u-s1", "a"): [0.4, 0.8],
    ("v", "a"): [0.1, 0.3],
    ("u-s0", "b"): [0.0, 0.0],
    ("u-s1", "b"): [0.0, 0.0],
    ("v", "b"): [0.5, math.nan],
}


def table(**settings):
    return PaperTable(
        **{"name": "t", "title": "T", "part": "p", "rows": ("model",), "columns": ("explainer",), **settings}
    )


def test_means_errors_and_differences_by_hand():
    printed = {("u", "a"): PrintedNumber(0.5, 3), ("v", "b"): PrintedNumber(math.nan, 4)}
    found = table(decimals=2).filled(made_findings(VALUES), printed)
    assert found.columns == ("model", "a", "b")
    # two trainings with means .3 and .6: mean .45, error .15; one training with .1 and .3: error over images .1
    assert found.rows == (
        ("u", "0.45 ± 0.15 | 0.50 | -0.05", "0.00 ± 0.00 | – | –"),
        ("v", "0.20 ± 0.10 | – | –", "0.50 | – | –"),
    )


def test_factors_words_and_a_choice():
    chosen = {"model": {"v": "Network V"}, "explainer": {"b": "B", "a": "A"}}
    found = table(chosen=chosen, factor=-100, offset=100, decimals=1).filled(made_findings(VALUES), {})
    assert found.columns == ("model", "B", "A")
    assert found.rows == (("Network V", "50.0", "80.0 ± 10.0"),)


def test_the_mean_of_the_papers_networks():
    printed = {("theirs", "a"): PrintedNumber(0.1, 1), ("others", "a"): PrintedNumber(0.3, 2, "A slip")}
    found = table(decimals=1, mean_of_paper=True).filled(made_findings(VALUES), printed)
    assert found.rows[1][1] == "0.2 ± 0.1 | mean 0.2 | +0.0"
    assert found.notes[-1] == "In the paper (others, a): A slip"
    crossed = {("theirs", "a · sparseness"): PrintedNumber(0.1, 1), ("theirs", "b · sparseness"): PrintedNumber(9, 2)}
    found = table(decimals=1, mean_of_paper=True, columns=("explainer", "metric")).filled(
        made_findings(VALUES), crossed
    )
    assert found.rows[1][1] == "0.2 ± 0.1 | mean 0.1 | +0.1"
    assert table(decimals=1).filled(made_findings(VALUES), printed).rows[1][1] == "0.2 ± 0.1 | – | –"


def test_slips_of_numbers_that_the_table_does_not_show_are_not_its_notes():
    slips = {("u", "a"): PrintedNumber(0.5, 1, "A slip"), ("u", "c"): PrintedNumber(0.5, 1, "Elsewhere")}
    notes = table().filled(made_findings(VALUES), slips).notes
    assert notes[1:] == ("In the paper (u, a): A slip",)
    theirs = {("theirs", "a"): PrintedNumber(0.5, 1, "A slip"), ("theirs", "c"): PrintedNumber(0.5, 1, "Elsewhere")}
    assert table().filled(made_findings(VALUES), theirs).notes[1:] == ()
    assert table(mean_of_paper=True).filled(made_findings(VALUES), theirs).notes[1:] == (
        "In the paper (theirs, a): A slip",
    )


def test_other_statistics():
    chosen = {"statistic": ["std", "min", "max", "evaluations"], "explainer": ["a"], "model": ["v"]}
    found = table(columns=("statistic",), chosen=chosen).filled(made_findings(VALUES), {})
    assert found.rows == (("v", f"{math.sqrt(0.02):.3f}", "0.100", "0.300", "3.000"),)


def test_the_arrow_turns_with_the_factor():
    settings = {"rows": ("model", "explainer"), "columns": ("metric",)}
    assert table(**settings).filled(made_findings(VALUES), {}).columns == ("model · explainer", "sparseness ↑")
    assert table(**settings, factor=-1).filled(made_findings(VALUES), {}).columns[1] == "sparseness ↓"
    spread = {**settings, "columns": ("metric", "statistic"), "chosen": {"statistic": ["mean", "std"]}}
    assert table(**spread).filled(made_findings(VALUES), {}).columns[1:] == ("sparseness · mean ↑", "sparseness · std")


def test_an_axis_that_is_named_nowhere_needs_one_value():
    with pytest.raises(ValueError, match=r"Expected t to have `explainer` among its rows or columns.*several: a, b"):
        table(columns=("metric",)).filled(made_findings(VALUES), {})
    with pytest.raises(ValueError, match=r"explainer of t.*'c'"):
        table(chosen={"explainer": ["c"]}).filled(made_findings(VALUES), {})


def test_metrics_with_units_of_their_own():
    units = {"sparseness": {"factor": -100, "offset": 100, "decimals": 1}}
    settings = {"rows": ("model", "explainer"), "columns": ("metric",), "chosen": {"model": ["v"], "explainer": ["a"]}}
    found = table(**settings, units=units).filled(made_findings(VALUES), {})
    assert (found.columns[1], found.rows) == ("sparseness ↓", (("v · a", "80.0 ± 10.0"),))
    with pytest.raises(ValueError, match="units of t"):
        table(units={"sparseness": {"scale": 1}})


def test_data_with_the_same_words_are_one_place():
    values = {("u-s0", "a"): [0.2, 0.4], ("u-s1", "a"): [0.4, 0.8]}
    first = made_findings(values)
    part = first.part("p")
    again = {
        (Cell(replace(cell.setting, data="e"), cell.explainer), metric): replace(one, rows=one.rows + 0.1)
        for (cell, metric), one in part.values.items()
    }
    both = Findings({"p": replace(part, values={**part.values, **again})}, first.networks)
    pooled = {"columns": ("data", "explainer"), "chosen": {"data": {"d": "D", "e": "D"}}, "decimals": 3}
    # means .3 and .4 of one training, .6 and .7 of the other: .35 and .65
    assert table(**pooled).filled(both, {}).rows == (("u", "0.500 ± 0.150"),)
    of_one = {place: rows for place, rows in {**part.values, **again}.items() if place[0].setting.model == "u-s0"}
    one_training = Findings({"p": replace(part, values=of_one)}, first.networks)
    assert table(**pooled).filled(one_training, {}).rows == (("u", "0.350 ± 0.100"),)  # each has an error of .1
    with pytest.raises(ValueError, match="`data`"):
        table(columns=("explainer",)).filled(both, {})
