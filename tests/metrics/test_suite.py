from __future__ import annotations

import gc
import math
import pickle
import weakref

import pytest
import torch
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lightning_xai import GradCAM
from lightning_xai.evidence import Case, RandomControl
from lightning_xai.metrics import (
    AOPC,
    AvgSensitivity,
    DeletionAUC,
    InsertionAUC,
    InsertionDeletion,
    MaxSensitivity,
    MetricSuite,
    PixelFlipping,
    RelativeFaithfulness,
    list_metrics,
)
from tests.metrics._harness import Batch, EvaluationCount, Squares, tiny_net

DEFAULT = [
    "insertion_auc",
    "deletion_auc",
    "insertion_deletion",
    "relative_faithfulness",
    "faithfulness_skill",
    "insertion_skill",
    "max_sensitivity",
    "avg_sensitivity",
    "sparseness",
    "complexity",
    "heatmap_drift",
    "pointing_game",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "box_localization",
]

MANY = [*DEFAULT, "aopc", "pixel_flipping"]


def _given(batch, net, **others):
    names = ("images", "heatmaps", "target", "masks", "boxes", "previous_heatmaps")
    return {"model": net, **{name: getattr(batch, name) for name in names}, **others}


def _cost(metrics, count=4, **others):
    """Return the evaluations per image that ``update`` takes, and those that the suite expects."""
    net, batch = tiny_net(), Batch.draw(count)
    counter, suite = EvaluationCount(net), MetricSuite(metrics)
    explaining = others.get("explainer", Squares()).evaluations
    suite.update(**_given(batch, net, **{"explainer": Squares(), **others}))
    assert counter.images % count == 0
    return counter.images // count, suite.evaluations(explaining)


CURVES = [InsertionAUC, DeletionAUC, InsertionDeletion, RelativeFaithfulness]


def test_four_metrics_cost_two_curves():
    counted, expected = _cost([metric() for metric in CURVES])
    assert counted == 1 + 2 * 10  # the unchanged image is shared
    assert expected == counted + 1  # which the suite's bound counts once per curve


@pytest.mark.parametrize(
    ("more", "added"),
    [
        (PixelFlipping(baseline=0.0), 0),
        (PixelFlipping(baseline=0), 0),
        (PixelFlipping(), 10),
        (PixelFlipping(baseline=0.0, ties="first"), 10),
        (PixelFlipping(baseline=0.0, seed=1), 10),
        (PixelFlipping(baseline=0.0, num_steps=31), 31),
        (AOPC(), 64),
        (AOPC(grid=(2, 3)), 6),
    ],
)
def test_what_another_metric_adds(more, added):
    counted, expected = _cost([*(metric() for metric in CURVES), more])
    assert counted == 1 + 2 * 10 + added
    assert expected == counted + (2 if added else 1)


@pytest.mark.parametrize(
    ("more", "added"),
    [({}, 0), ({"relative": False}, 0), ({"radius": 0.05}, 10), ({"num_samples": 4}, 4), ({"seed": 1}, 10)],
)
def test_sensitivities_share_their_neighbours(more, added):
    explainer = GradCAM(target_layer="0")
    counted, expected = _cost([MaxSensitivity(), AvgSensitivity(**more)], explainer=explainer)
    assert counted == expected == 10 + added


def test_default_suite_costs_what_is_promised():
    batch, net = Batch.draw(5), tiny_net()
    counter, suite = EvaluationCount(net), MetricSuite(DEFAULT)
    explainer = GradCAM(target_layer="0")
    case = Case(net, batch.images, batch.target, explainer=explainer, masks=batch.masks)
    case = case.with_heatmaps(explainer=explainer, previous_heatmaps=batch.previous_heatmaps)
    suite.score(case)
    counted = counter.images / 5
    assert counted == 1 + 1 + 49 + 3 * 2 * 10 + 10  # heatmap, unchanged image, hidden cells, curves, neighbours
    control = MetricSuite(["insertion_auc", "deletion_auc", "insertion_deletion", "relative_faithfulness"])
    control.score(case.seen_with(RandomControl()))
    assert counter.images / 5 == counted <= 125  # the monitor's gain costs nothing more
    assert case.classifier.evaluations == counter.images


def test_evaluations_is_an_upper_bound_for_any_pair():
    settings = [InsertionAUC(5), DeletionAUC(5), PixelFlipping(5), AOPC((2, 2)), MaxSensitivity(num_samples=3)]
    for i, first in enumerate(settings):
        for second in settings[i:]:
            pair = {"first": first.clone(), "second": second.clone()}
            counted, expected = _cost(pair, explainer=GradCAM(target_layer="0"))
            curves = len({e for m in pair.values() for e in m.evidence if type(e).__name__ == "MaskingCurve"})
            assert counted == expected - max(curves - 1, 0)


class OnePass(Squares):
    """`Squares` weighed by the class' probability: a heatmap costs a pass."""

    evaluations = 1
    target_layer = "0"

    def explain(self, classifier, images, target):
        score = classifier.select(classifier.logits(images), target, "probability")
        return super().explain(classifier, images, target) * (1.0 + score[:, None, None])


def _all_fields(net, side=16, count=1):
    """Return a case with all that any metric reads, on images that the default grids fit into."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, side, side, generator=random)
    regions = {"object": images[:, 0] > 0.5}
    case = Case(net, images, torch.arange(count), explainer=OnePass(), masks=images[:, 0] > 0.5, regions=regions)
    case = case.with_heatmaps(
        images[:, 1].relu(),
        OnePass(),
        previous_heatmaps=images[:, 2],
        other_heatmaps={"first": images[:, 0], "second": images[:, 2]},
    )
    case.logits  # noqa: B018 - of the unchanged images, which nearly every metric reads
    return case


def test_all_metrics_at_once_cost_the_union_of_their_evidence():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(392, 3))
    counter, suite = EvaluationCount(net), MetricSuite(list_metrics())
    suite.score(_all_fields(net))  # the first time, a pass finds the automatic target layer

    def cost(read):
        case = _all_fields(net)
        counter.images = 0
        read(case)
        return counter.images

    together = cost(suite.score)
    metrics = suite.explanation_metrics().values()
    assert len(metrics) == len(list_metrics())
    union = {evidence for metric in metrics for evidence in metric.evidence}

    def own_cost(evidence):
        """Return what it costs beside what is known about the images alone, which other evidence may read."""
        of_images = [other for other in union - {evidence} if other.is_about_images_alone]
        case = _all_fields(net)
        for other in of_images:
            case[other]
        counter.images = 0
        case[evidence]
        return counter.images

    own_costs = {evidence: own_cost(evidence) for evidence in union}
    assert together == sum(own_costs.values()) > 0
    separately = sum(cost(metric.score) for metric in metrics)
    shared = [e for e in union for _ in range(sum(e in metric.evidence for metric in metrics) - 1)]
    assert separately - together == sum(own_costs[e] for e in shared) > 100
    assert together <= 2 * suite.evaluations(OnePass.evaluations)


def test_evidence_is_freed_while_the_suite_still_runs():
    batch, net, alive = Batch.draw(3), tiny_net(), {}

    class Last(Metric):
        def update(self, preds):
            gc.collect()
            alive.update({name: reference() is not None for name, reference in kept.items()})

        def compute(self):
            return torch.tensor(0.0)

    kept = {}

    class Watched(DeletionAUC):
        def score(self, case):
            kept["deletion"] = weakref.ref(case[self.evidence[0]])
            return torch.zeros(3)

    suite = MetricSuite({"a": DeletionAUC(), "b": Watched(), "z": Last()})
    suite.update(**_given(batch, net), preds=torch.zeros(3))
    assert alive == {"deletion": False}


def test_a_failed_collection_is_not_repeated():
    class Broken(Squares):
        calls = 0

        def explain(self, classifier, images, target):
            Broken.calls += 1
            raise RuntimeError("no map")

    batch = Batch.draw(2)
    case = Case(tiny_net(), batch.images, batch.target, heatmaps=batch.heatmaps, explainer=Broken())
    suite = MetricSuite(["max_sensitivity", "avg_sensitivity"])
    suite._announce(case)
    for metric in suite.explanation_metrics().values():
        with pytest.raises(RuntimeError, match="no map"):
            metric.score(case)
    assert Broken.calls == 1


def test_equals_the_metrics_alone():
    batches, net = [Batch.draw(4), Batch.draw(3, seed=1)], tiny_net()
    suite = MetricSuite(MANY)
    for batch in batches:
        suite.update(**_given(batch, net, explainer=Squares()))
    computed = suite.compute()
    assert len(computed) == len(MANY)
    for name, metric in suite.explanation_metrics().items():
        alone = metric.clone()
        alone.reset()
        for batch in batches:
            alone.update(case=Case(**_given(batch, net, explainer=Squares())))
        torch.testing.assert_close(computed[name], alone.compute(), rtol=0, atol=0)


def test_forward_shares_too_and_returns_the_batch():
    batches, net = [Batch.draw(4), Batch.draw(3, seed=1)], tiny_net()
    counter = EvaluationCount(net)
    suite = MetricSuite([*(metric() for metric in CURVES), MulticlassAccuracy(3)], prefix="val_")
    for batch in batches:
        logits = torch.randn(len(batch), 3)
        given = _given(batch, net, preds=logits)
        before = counter.images
        values = suite(**given)
        assert counter.images - before == len(batch) * (1 + 2 * 10)
        alone = MetricSuite([*(metric() for metric in CURVES), MulticlassAccuracy(3)], prefix="val_")
        alone.update(**given)
        assert values.keys() == alone.compute().keys()
        torch.testing.assert_close(values, alone.compute())
    assert len(suite["faithfulness"].rows) == 7


def test_metrics_of_torchmetrics_get_the_arguments_they_name():
    batch, net = Batch.draw(6), tiny_net()
    logits = torch.randn(6, 3)
    suite = MetricSuite([InsertionAUC(4), MulticlassAccuracy(3, average="micro")])
    for _ in range(2):
        suite.update(**_given(batch, net), preds=logits)
    computed = suite.compute()
    assert set(computed) == {"insertion_auc", "MulticlassAccuracy"}
    assert computed["MulticlassAccuracy"].item() == pytest.approx((logits.argmax(1) == batch.target).float().mean())
    assert set(suite.explanation_metrics()) == {"insertion_auc"}


def test_a_case_may_replace_the_arguments():
    batch, net = Batch.draw(4), tiny_net()
    suite, logits = MetricSuite(["deletion_auc", MulticlassAccuracy(3)]), torch.randn(4, 3)
    suite.update(case=Case(**_given(batch, net)), preds=logits, target=batch.target)
    other = MetricSuite(["deletion_auc", MulticlassAccuracy(3)])
    other.update(**_given(batch, net), preds=logits)
    torch.testing.assert_close(suite.compute(), other.compute(), rtol=0, atol=0)


def test_an_empty_case_names_what_is_missing():
    with pytest.raises(ValueError, match="Expected `heatmaps` to be given"):
        MetricSuite(["sparseness"]).update(case=Case())


def test_names():
    assert set(MetricSuite("sparseness").keys()) == {"sparseness"}
    assert set(MetricSuite(DeletionAUC()).keys()) == {"deletion_auc"}
    assert set(MetricSuite(["insertion_deletion", RelativeFaithfulness()]).keys()) == {
        "faithfulness",
        "faithfulness_relative",
    }
    assert set(MetricSuite({"a": "sparseness", "b": DeletionAUC()}).keys()) == {"a", "b"}


def test_two_of_one_name_need_a_dict():
    text = r"Expected metrics with different names, but got two named 'deletion_auc'\. Pass a dict of names\."
    with pytest.raises(ValueError, match=text):
        MetricSuite(["deletion_auc", DeletionAUC(16)])
    batch, suite = Batch.draw(3), MetricSuite({"fine": DeletionAUC(64), "coarse": DeletionAUC(2)})
    suite.update(**_given(batch, tiny_net()))
    assert suite.compute()["fine"] != suite.compute()["coarse"]


@pytest.mark.parametrize(
    ("metrics", "error", "text"),
    [
        (["insertion"], ValueError, r"Expected `metric` to be one of .*'aopc'.*Did you mean 'insertion_auc'\?"),
        ([3], TypeError, r"Expected `metrics` to hold metrics or aliases, but got int\."),
        ({"a": None}, TypeError, r"Expected `metrics` to hold metrics or aliases, but got NoneType\."),
    ],
)
def test_entries_are_checked(metrics, error, text):
    with pytest.raises(error, match=text):
        MetricSuite(metrics)


def test_prefix_and_postfix():
    suite = MetricSuite(["sparseness", "deletion_auc"], prefix="val_", postfix="_x")
    batch = Batch.draw(3)
    suite.update(**_given(batch, tiny_net()))
    assert set(suite.compute()) == {"val_sparseness_x", "val_deletion_auc_x"}
    assert set(suite.score(Case(**_given(batch, tiny_net())))) == {"sparseness", "deletion_auc"}
    assert set(suite.clone(prefix="test_").compute()) == {"test_sparseness_x", "test_deletion_auc_x"}


def test_score_touches_no_state():
    batch, net = Batch.draw(4), tiny_net()
    suite = MetricSuite([*MANY, MulticlassAccuracy(3)])
    fresh = pickle.dumps(suite)
    scores = suite.score(Case(**_given(batch, net, explainer=Squares())))
    assert pickle.dumps(suite) == fresh
    assert all(metric._update_count == 0 for metric in suite.values())
    assert set(scores) == set(suite.explanation_metrics())
    suite.update(**_given(batch, net, explainer=Squares()), preds=torch.randn(4, 3))
    for name, metric in suite.explanation_metrics().items():
        torch.testing.assert_close(metric.rows, scores[name], rtol=0, atol=0, equal_nan=True)


def test_clone_pickle_reset():
    batch, net = Batch.draw(4), tiny_net()
    suite = MetricSuite(DEFAULT)
    suite.update(**_given(batch, net, explainer=Squares()))
    for copy in (suite.clone(), pickle.loads(pickle.dumps(suite))):
        assert isinstance(copy, MetricSuite)
        torch.testing.assert_close(copy.compute(), suite.compute(), rtol=0, atol=0)
        copy.update(**_given(batch, net, explainer=Squares()))
        assert len(copy["faithfulness"].rows) == 8
        assert len(suite["faithfulness"].rows) == 4
    assert len(pickle.dumps(suite)) < 60_000
    suite.reset()
    assert all(len(metric.rows) == 0 for metric in suite.explanation_metrics().values())


def test_equal_states_are_not_merged():
    # on a degenerate first batch everything coincides; the default collection of torchmetrics would decide there
    suite = MetricSuite({"a": DeletionAUC(4), "b": DeletionAUC(4), "c": InsertionAUC(4)})
    net, first = tiny_net(), Batch.draw(1)
    suite.update(**_given(first.with_heatmaps(torch.zeros_like(first.heatmaps)), net))
    suite.update(**_given(Batch.draw(5), net))
    assert suite.compute_groups == {}
    assert suite.compute()["a"] == suite.compute()["b"] != suite.compute()["c"]


def test_is_a_metric_collection():
    assert isinstance(MetricSuite([]), MetricCollection)
    assert repr(MetricSuite(["sparseness"])).startswith("MetricSuite(")


def test_every_row_is_finite_or_counted():
    batch = Batch.draw(10)
    suite = MetricSuite(MANY)
    suite.update(**_given(batch, tiny_net(), explainer=Squares()))
    for metric in suite.explanation_metrics().values():
        assert len(metric.rows) == 10
        assert math.isfinite(metric.compute())
        assert metric.undefined == (2 if "masks" in metric.needs else 0)


@pytest.mark.parametrize("name", ["half", "update", "forward"])
def test_names_of_methods_are_taken(name):
    with pytest.raises(ValueError, match=f"Expected names in `metrics` that torch.nn.Module does not use .* '{name}'"):
        MetricSuite({name: "sparseness"})
