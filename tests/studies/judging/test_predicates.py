"""What claims say about numbers, on tables made by hand; sparseness is better when higher."""

import math

import pytest
import torch
from scipy import stats

from lightning_xai.studies import Claim, Findings
from lightning_xai.studies.judging.contrast import combined
from lightning_xai.studies.judging.gains import contrasts
from lightning_xai.studies.judging.predicates import (
    among_best,
    better_on,
    bounded,
    cheaper,
    correlates,
    exceeds,
    one_method,
)
from tests.studies._made import made_findings

HIGH, LOW, MIXED = [0.8, 0.9, 0.7, 0.85] * 2, [0.1, 0.2, 0.15, 0.1] * 2, [0.9, 0.95, 0.8, 0.1] * 2


def test_one_training_is_judged_by_a_bootstrap_over_its_images():
    (found,) = contrasts(made_findings({("m", "a"): HIGH, ("m", "b"): LOW}), "p", "sparseness", "a", "b")
    differences = torch.tensor(HIGH) - torch.tensor(LOW)
    assert found.value == pytest.approx(float(differences.mean()))
    assert differences.min() <= found.low < found.value < found.high <= differences.max()
    assert (found.sign(), found.trainings) == (1, 1)
    assert math.isnan(found.p)


def test_several_trainings_are_judged_by_both_errors():
    rows = [torch.tensor([0.1, 0.3, 0.2]), torch.tensor([0.4, 0.6, 0.5])]
    found = combined("x", [one.double() for one in rows])
    between = stats.t.ppf(0.975, 1) * stats.sem([0.2, 0.5])
    over_images = stats.norm.ppf(0.975) * stats.sem([0.25, 0.45, 0.35])
    assert found.high - found.value == pytest.approx(math.hypot(between, over_images))
    noisy = [torch.tensor([-3.0, 3.4]).double(), torch.tensor([-3.0, 3.4]).double()]  # equal means, large errors
    half = 1.959964 * math.sqrt(6.4**2 / 2 / 2)  # as of one training: they explain the same images
    assert combined("x", noisy).high == pytest.approx(0.2 + half)


def test_a_p_value_needs_six_trainings():
    rows = [torch.full((4,), value).double() for value in (0.1, 0.3, 0.2, 0.4, 0.1, 0.2)]
    assert combined("x", rows).p == pytest.approx(stats.ttest_1samp([0.1, 0.3, 0.2, 0.4, 0.1, 0.2], 0.0).pvalue)
    assert math.isnan(combined("x", rows[:5]).p)
    assert "p = " in str(combined("x", rows))


def test_undefined_images_are_left_out_and_a_lower_metric_is_turned_around():
    findings = made_findings({("m", "a"): [0.5, math.nan, 0.4], ("m", "b"): [0.1, 0.1, math.nan]})
    (found,) = contrasts(findings, "p", "sparseness", "a", "b")
    assert found.value == pytest.approx(0.4)
    lower = made_findings({("m", "a"): HIGH, ("m", "b"): LOW}, metric="complexity")
    assert exceeds(lower, "p", "complexity", "b", "a").outcome == "supported"


def test_exceeding_in_a_share_of_networks():
    values = {}
    for model, first in (("u", HIGH), ("v", HIGH), ("w", MIXED), ("x", LOW)):
        values |= {(model, "a"): first, (model, "b"): [0.5] * 8}
    findings = made_findings(values)
    assert exceeds(findings, "p", "sparseness", "a", "b", share=0.5).outcome == "supported"
    assert exceeds(findings, "p", "sparseness", "a", "b", share=0.75).outcome == "undecided"
    all_of_them = exceeds(findings, "p", "sparseness", "a", "b")
    assert all_of_them.outcome == "contradicted"
    assert "better in 2, worse in 1 of 4" in all_of_them.why
    assert exceeds(findings, "p", "sparseness", "a", "b", model=["u", "v"]).outcome == "supported"


def test_trainings_are_one_network():
    values = {(f"u-s{seed}", name): one for seed in range(6) for name, one in (("a", HIGH), ("b", LOW))}
    values[("u-s0", "a")] = [0.75, 0.9, 0.7, 0.8] * 2
    verdict = exceeds(made_findings(values), "p", "sparseness", "a", "b")
    assert verdict.outcome == "supported"
    assert "better in 1, worse in 0 of 1" in verdict.why
    assert "p = " in verdict.why


def test_doing_better_on_another_network():
    values = {("u-s0", "a"): HIGH, ("u-s1", "a"): HIGH, ("v-s0", "a"): LOW, ("v-s1", "a"): LOW, ("w", "a"): MIXED}
    findings = made_findings(values)
    found = better_on(findings, "p", "sparseness", "a", "u", "v")
    assert found.outcome == "supported"
    difference = sum(HIGH) / 8 - sum(LOW) / 8
    assert f"{difference:+.3g}" in found.why
    assert better_on(findings, "p", "sparseness", "a", "v", ["u"]).outcome == "contradicted"
    assert better_on(findings, "p", "sparseness", "a", "u", ["v", "w"]).outcome == "undecided"


def test_being_among_the_best_and_the_worst():
    values = {("m", "a"): HIGH, ("m", "b"): LOW, ("m", "c"): MIXED, ("m", "d"): [0.12, 0.21, 0.16, 0.1] * 2}
    findings = made_findings(values)
    assert among_best(findings, "p", "sparseness", "a").outcome == "undecided"  # c may be as good
    assert among_best(findings, "p", "sparseness", "a", places=2).outcome == "supported"
    assert among_best(findings, "p", "sparseness", "a", among=["a", "b", "d"]).outcome == "supported"
    assert among_best(findings, "p", "sparseness", "b").outcome == "contradicted"
    assert among_best(findings, "p", "sparseness", "a", places=2, worst=True).outcome == "contradicted"
    assert among_best(findings, "p", "sparseness", "b", places=3, worst=True).outcome == "supported"


def test_means_within_bounds():
    findings = made_findings({("m", "a"): HIGH, ("m", "b"): MIXED})
    assert bounded(findings, "p", "sparseness", "a", above=0.5).outcome == "supported"
    assert bounded(findings, "p", "sparseness", "a", below=0.5).outcome == "contradicted"
    assert bounded(findings, "p", "sparseness", "b", above=0.5).outcome == "undecided"
    assert bounded(findings, "p", "sparseness", ["a", "b"], above=0.5, share=0.5).outcome == "supported"


def test_a_single_image_decides_nothing():
    findings = made_findings({("m", "a"): [0.8, math.nan], ("m", "b"): [0.1, math.nan]})
    assert bounded(findings, "p", "sparseness", "a", above=0.5).outcome == "undecided"
    assert exceeds(findings, "p", "sparseness", "a", "b").outcome == "undecided"
    constant = made_findings({("m", "a"): [0.8, 0.8]})  # an error of 0 is one
    assert bounded(constant, "p", "sparseness", "a", above=0.5).outcome == "supported"


def test_equal_heatmaps_are_one_method():
    findings = made_findings({("m", "a"): HIGH, ("m", "b"): LOW, ("m", "c"): LOW})
    heatmaps = findings.part("p").heatmaps
    first, second, _ = heatmaps
    heatmaps[second] = heatmaps[first]
    assert one_method(findings, "p", ["a", "b"]).outcome == "supported"
    assert one_method(findings, "p", ["a", "c"]).outcome == "contradicted"
    # the same method is no rival of itself
    assert among_best(findings, "p", "sparseness", "b", among=["a", "b"]).outcome == "undecided"


def test_a_metric_that_rises_with_accuracy():
    models = [f"m{place}" for place in range(7)]
    values = {(name, "a"): [0.1 * place] * 3 for place, name in enumerate(models)}
    scores = {name: {"accuracy": 0.5 + 0.05 * place} for place, name in enumerate(models)}
    findings = made_findings(values, scores)
    rises = correlates(findings, "p", "sparseness", "a", "accuracy")
    assert rises.outcome == "supported"
    assert "Spearman +1.00" in rises.why
    assert correlates(findings, "p", "sparseness", "a", "accuracy", positive=False).outcome == "contradicted"
    few = {name: scores[name] for name in models[:5]}
    assert correlates(made_findings(values, few), "p", "sparseness", "a", "accuracy").outcome == "undecided"


def test_costs_are_exact():
    findings = made_findings({("m", "a"): HIGH, ("m", "b"): LOW})  # explaining: 1 and 2 evaluations per image
    assert cheaper(findings, "p", "a", "b", factor=2, of="explainer").outcome == "supported"
    assert cheaper(findings, "p", "a", "b", factor=2.1, of="explainer").outcome == "contradicted"
    assert cheaper(findings, "p", "a", "c", of="explainer").why == "no cost is known of c"


def test_a_claim_about_what_was_not_run_is_undecided():
    claim = Claim("C", "says", "exceeds", {"part": "p", "metric": "sparseness", "explainer": "a", "than": "b"})
    assert claim.judged(Findings({})).why == "p was not run"
    assert claim.judged(made_findings({("m", "a"): HIGH, ("m", "b"): LOW})).outcome == "supported"
    own = Claim("C", "says", "tests.studies.judging.test_predicates.always", {"part": "p"})
    assert own.judged(made_findings({("m", "a"): HIGH})) == "yes"


def always(findings, part):
    return "yes"
