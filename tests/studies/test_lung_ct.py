"""Whether networks explain alike: agreement over trainings, and the verdict, by hand."""

import math
import statistics

import pytest

from lightning_xai.comparison import Records
from lightning_xai.studies import Findings, Network
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.lung_ct.agreement import between_networks, varies


class Table:
    """Stands for a comparison's table: the agreement of four trainings of two networks."""

    def agreement(self, between):
        assert between == "models"
        values = {("u-s0", "u-s1"): 0.9, ("u-s0", "v-s0"): 0.1, ("u-s0", "v-s1"): 0.2, ("u-s1", "v-s0"): 0.3}
        values |= {("u-s1", "v-s1"): 0.4, ("v-s0", "v-s1"): 0.8, ("u-s0", "all others"): 0.5}
        rows = [("a", *pair, value, 0.01) for pair, value in values.items()]
        others = [("b", *pair, -1.0, 0.01) for pair in values]
        return Records(("explainer", "first", "second", "value", "error"), tuple(rows + others))


def context():
    networks = {name: Network(name, name[0]) for name in ("u-s0", "u-s1", "v-s0", "v-s1")}
    return AnalysisContext(None, {}, {}, Findings({"p": Table()}, networks))


def test_agreement_is_a_mean_over_pairs_of_trainings():
    found = between_networks(context(), "p", "a")
    assert [(row["first"], row["second"], row["pairs"]) for row in found] == [
        ("u", "u", 1),
        ("u", "v", 4),
        ("v", "v", 1),
    ]
    assert [row["correlation"] for row in found] == pytest.approx([0.9, 0.25, 0.8])
    assert [row["image_error"] for row in found] == [0.01] * 3
    # without a training of u, of v, the mean of four moves by ±.1, ±.05; of a single pair nothing is left
    error = ((0.1**2 + 0.1**2) / 2 + (0.05**2 + 0.05**2) / 2) ** 0.5
    assert [row["training_error"] for row in found] == pytest.approx([math.nan, error, math.nan], nan_ok=True)
    assert [row["trainings"] for row in found] == [2, 2, 2]


def test_pairs_of_three_trainings_are_fewer_than_they_look():
    """Agreement as a sum of two effects: the mean over pairs is twice that of the effects, and so is its error."""
    effects = {"u-s0": 0.1, "u-s1": 0.2, "u-s2": 0.6}
    pairs = [("u-s0", "u-s1"), ("u-s0", "u-s2"), ("u-s1", "u-s2")]

    class Sums:
        def agreement(self, between):
            rows = [("a", *pair, sum(effects[name] for name in pair), 0.01) for pair in pairs]
            return Records(("explainer", "first", "second", "value", "error"), tuple(rows))

    networks = {name: Network(name, "u") for name in effects}
    (row,) = between_networks(AnalysisContext(None, {}, {}, Findings({"p": Sums()}, networks)), "p", "a")
    assert row["correlation"] == pytest.approx(0.6)
    assert row["training_error"] == pytest.approx(2 * statistics.stdev(effects.values()) / 3**0.5)


COLUMNS = ("first", "second", "correlation", "image_error", "training_error", "trainings", "pairs")


@pytest.mark.parametrize(
    ("between", "error", "outcome"),
    [(0.25, 0.03, "supported"), (0.45, 0.05, "undecided"), (0.7, 0.03, "contradicted"), (0.95, 0.5, "undecided")],
)
def test_varying_is_less_than_half_and_less_than_alone(between, error, outcome):
    """Four trainings: intervals of 3.2 errors, of 4.2 where one of three bounds would do; .25 + .13 is below .5."""
    rows = (("u", "u", 0.9, 0, 0.01, 4, 6), ("u", "v", between, 0, error, 4, 16), ("v", "v", 0.8, 0, 0.01, 4, 6))
    assert varies(Findings({}, analyses={"a": Records(COLUMNS, rows)}), "a").outcome == outcome


def test_it_contradicts_where_trainings_of_one_network_agree_less():
    rows = (("u", "u", 0.1, 0.01, 0.01, 4, 6), ("u", "v", 0.3, 0.01, 0.01, 4, 16))
    assert varies(Findings({}, analyses={"a": Records(COLUMNS, rows)}), "a").outcome == "contradicted"


def test_one_training_of_each_leaves_the_error_over_images():
    rows = (("u", "v", 0.3, 0.02, math.nan, 1, 1),)
    found = varies(Findings({}, analyses={"a": Records(COLUMNS, rows)}), "a")
    assert (found.outcome, found.why) == ("supported", "u, v: +0.3 [+0.261, +0.339]")
