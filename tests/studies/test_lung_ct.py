"""Whether networks explain alike: agreement over trainings, and the verdict, by hand."""

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
    # of four pairs .1 .2 .3 .4: deviation √(1/60), error half of it; of one pair that over images
    assert [row["error"] for row in found] == pytest.approx([0.01, (1 / 60) ** 0.5 / 2, 0.01])


@pytest.mark.parametrize(
    ("between", "error", "outcome"),
    [(0.25, 0.05, "supported"), (0.45, 0.05, "undecided"), (0.7, 0.05, "contradicted"), (0.95, 0.5, "undecided")],
)
def test_varying_is_less_than_half_and_less_than_alone(between, error, outcome):
    rows = (("u", "u", 0.9, 0.01, 1), ("u", "v", between, error, 4), ("v", "v", 0.8, 0.01, 1))
    records = Records(("first", "second", "correlation", "error", "pairs"), rows)
    assert varies(Findings({}, analyses={"a": records}), "a").outcome == outcome


def test_it_contradicts_where_trainings_of_one_network_agree_less():
    rows = (("u", "u", 0.1, 0.01, 1), ("u", "v", 0.3, 0.01, 4))
    records = Records(("first", "second", "correlation", "error", "pairs"), rows)
    assert varies(Findings({}, analyses={"a": records}), "a").outcome == "contradicted"
