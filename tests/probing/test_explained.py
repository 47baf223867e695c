from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lightning_xai
from lightning_xai import difference
from lightning_xai.metrics import HAAS, InsertionDeletion, PixelFlipping, Sparseness
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.explained import Answers, Explained, ExplainedEpoch, explained
from lightning_xai.probing.image_scores import ImageScores

NAN = math.nan


def about(rows, metric=None, *, keys=None, target=None, control=None):
    """What is known about as many images as there are rows, by one explainer and one metric."""
    metric, rows = metric or Sparseness(), torch.tensor(rows)
    count = len(rows)
    return Explained(
        keys=torch.tensor(keys or list(range(count))),
        labels=torch.zeros(count, dtype=torch.int64),
        target=torch.tensor(target or [0] * count),
        predicted=torch.zeros(count, dtype=torch.int64),
        probabilities=torch.rand(count, 3),
        rows={"grad_cam": {metric.key: rows}},
        control_rows={} if control is None else {metric.key: torch.tensor(control)},
        metrics={metric.key: metric},
        heatmaps={"grad_cam": torch.rand(count, 2, 2)},
    )


def epoch_of(found, number=0):
    return ExplainedEpoch(number, number, "fit", {}, {0: found})


def scores(rows, metric=None, **settings):
    return about(rows, metric, **settings).scores((metric or Sparseness()).key)


class TestScores:
    def test_of_one_explainer_and_metric(self):
        found = about([0.5, NAN, 0.25])
        assert epoch_of(found).scores("sparseness").estimate() == Estimate(0.375, pytest.approx(0.125), 1)
        assert torch.equal(found.scores("sparseness", "grad_cam").keys, torch.tensor([0, 1, 2]))

    def test_a_gain_is_paired_with_the_control(self):
        found = about([0.5, 0.25, 0.75], InsertionDeletion(), control=[0.0, 0.25, 0.5])
        gains = torch.tensor([0.5, 0.0, 0.25])
        estimate = found.scores("faithfulness_gain").estimate()
        assert estimate.value == pytest.approx(0.25)
        assert estimate.error == pytest.approx(gains.std().item() / math.sqrt(3))

    def test_a_gain_is_positive_where_lower_is_better(self):
        found = about([0.25, 0.5], PixelFlipping(), control=[0.5, 1.0])
        assert found.scores("pixel_flipping_gain").estimate().value == pytest.approx(0.375)

    @pytest.mark.parametrize(
        ("ask", "said"),
        [
            (
                lambda e: e.scores("sparsenes"),
                r"Expected `name` to be one of 'sparseness', but got 'sparsenes'. Did you mean",
            ),
            (lambda e: e.scores("sparseness", "cam"), r"Expected `explainer` to be one of 'grad_cam', but got 'cam'"),
            (lambda e: e.scores("sparseness", loader=1), r"Expected `loader` to be one of 0, but got 1"),
        ],
    )
    def test_unknown_names_are_said(self, ask, said):
        with pytest.raises(ValueError, match=said):
            ask(epoch_of(about([0.5])))

    def test_one_of_several_explainers_must_be_named(self):
        found = about([0.5])
        found = replace(found, rows={"a": found.rows["grad_cam"], "b": found.rows["grad_cam"]})
        with pytest.raises(ValueError, match="Expected `explainer` to be one of a, b, but got None"):
            found.scores("sparseness")


class TestDifference:
    def test_is_paired_image_by_image(self):
        now, before = torch.rand(20), torch.rand(20)
        found = difference(scores(now.tolist()), scores(before.tolist()))
        gaps = (now - before).double()
        assert found.value == pytest.approx(gaps.mean().item(), abs=1e-6)
        assert found.error == pytest.approx((gaps.var() / 20).sqrt().item(), abs=1e-6)
        assert found.undefined == 0

    def test_takes_the_images_that_both_know_in_whatever_order(self):
        now = scores([1.0, 2.0, 3.0, 4.0], keys=[5, 6, 7, 8])
        before = scores([0.5, 0.0, 9.0], keys=[8, 6, 1])
        assert difference(now, before) == Estimate(pytest.approx((3.5 + 2.0) / 2), pytest.approx(0.75), 0)

    def test_leaves_out_images_whose_explained_class_moved(self):
        now, before = scores([1.0, 2.0, 4.0], target=[0, 1, 1]), scores([0.0, 0.0, 1.0], target=[0, 0, 1])
        assert difference(now, before).value == pytest.approx((1.0 + 3.0) / 2)

    def test_undefined_images_are_left_out_and_counted(self):
        found = difference(scores([1.0, NAN, 3.0, 2.0]), scores([0.0, 1.0, NAN, 0.0]))
        assert (found.value, found.undefined) == (1.5, 2)

    def test_of_gains_is_the_difference_of_differences(self):
        a = about([0.5, 0.25], PixelFlipping(), control=[0.75, 1.0]).scores("pixel_flipping_gain")
        b = about([0.5, 0.5], PixelFlipping(), control=[0.5, 0.5]).scores("pixel_flipping_gain")
        assert difference(a, b).value == pytest.approx((0.25 + 0.75) / 2)

    def test_of_a_ratio_is_the_jackknife_of_the_pair(self):
        a = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
        b = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])

        def gap(keep):
            return (a[keep, 1].sum() / a[keep, 0].sum() - b[keep, 1].sum() / b[keep, 0].sum()).item()

        found = difference(scores(a.tolist(), HAAS()), scores(b.tolist(), HAAS()))
        left_out = [gap([i for i in range(5) if i != out]) for out in range(5)]
        mean = sum(left_out) / 5
        assert found.value == pytest.approx(gap(list(range(5))))
        assert found.error == pytest.approx(math.sqrt(4 / 5 * sum((one - mean) ** 2 for one in left_out)))

    def test_without_a_shared_image(self):
        assert math.isnan(difference(scores([1.0], keys=[1]), scores([1.0], keys=[2])).value)

    @pytest.mark.parametrize(
        ("a", "b", "said"),
        [
            (scores([1.0]), scores([1.0], PixelFlipping()), "Expected scores of one metric, but got Sparseness"),
            (
                scores([1.0], PixelFlipping()),
                scores([1.0], PixelFlipping(num_steps=8)),
                r"Expected scores of one metric, but got PixelFlipping\(num_steps='radau'",
            ),
            (
                scores([1.0], PixelFlipping()),
                about([1.0], PixelFlipping(), control=[0.0]).scores("pixel_flipping_gain"),
                "Expected scores or gains on both sides",
            ),
        ],
    )
    def test_what_cannot_be_compared(self, a, b, said):
        with pytest.raises(ValueError, match=said):
            difference(a, b)


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_probabilities_and_predictions_from_logits(task):
    logits = torch.tensor([[-1.0, 1.0], [2.0, -2.0]])
    answers = Answers(logits, torch.tensor([1, 1]), {}, {}, {}, {"cam": torch.ones(2, 1, 1).half()})
    found = explained(answers, [3, 4], [1, -1], task, {})
    expected = [math.exp(2) / (1 + math.exp(2)), 1 / (1 + math.exp(4))]
    if task != "multiclass":
        expected = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2))]
    assert found.probabilities[:, 1].tolist() == pytest.approx(expected)
    assert found.predicted.tolist() == [1, 0]
    assert (found.keys.tolist(), found.labels.tolist()) == ([3, 4], [1, -1])
    assert list(found.heatmaps) == ["cam"]


def test_numbers_only_keeps_every_number():
    whole = epoch_of(about([0.5, 0.25]))
    small = whole.numbers_only()
    assert not small.loaders[0].heatmaps
    assert small.loaders[0].probabilities.numel() == 0
    assert small.scores("sparseness").estimate() == whole.scores("sparseness").estimate()


def test_public_names():
    assert {"Estimate", "Explained", "ExplainedEpoch", "difference"} <= set(dir(lightning_xai.probing))
    assert lightning_xai.difference is difference
    assert lightning_xai.probing.Estimate is lightning_xai.Estimate is Estimate
    assert isinstance(scores([1.0]), ImageScores)
