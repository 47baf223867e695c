from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from lightning_xai.evidence.models import explanation_seconds
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.functional import explanation_time
from lightning_xai.metrics import ExplanationTime
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net

ENTRY = Entry(
    "explanation_time",
    ("model", "images", "target", "explainer"),
    lambda view, num_repeats=1: float("nan"),
    variants=({"num_repeats": 3},),
    repeatable=False,
)


class Sleeping(Explainer):
    """Take the given times, one after another."""

    def __init__(self, *seconds):
        self._seconds = list(seconds)

    def explain(self, classifier, images, target):
        classifier.forward(images)
        time.sleep(self._seconds.pop(0))
        return images[:, 0]


def _value(*seconds, count=4, **settings):
    batch = Batch.draw(count)
    explainer = Sleeping(*seconds)
    found = explanation_time(tiny_net(), batch.images, explainer, batch.target, **settings)
    assert explainer._seconds == []
    assert found.dtype == torch.float32
    return found.tolist()


def test_seconds_per_image():
    found = _value(0.0, 0.1)
    assert len(set(found)) == 1
    assert found[0] >= 0.1 / 4


def test_the_fastest_repeat_counts_and_the_warm_up_does_not(monkeypatch):
    ticks = iter([0.0, 1.0, 10.0, 12.0, 20.0, 28.0])  # warm-up 1, then 2 and 8 seconds
    monkeypatch.setattr(explanation_seconds, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert _value(0.0, 0.0, 0.0, num_repeats=2) == [0.5] * 4


def test_cost():
    batch, net = Batch.draw(4), tiny_net()
    count = EvaluationCount(net)
    for num_repeats in (1, 3):
        count.images = 0
        metric = ExplanationTime(num_repeats)
        metric.update(
            model=net, images=batch.images, target=batch.target, explainer=Sleeping(*[0.0] * (num_repeats + 1))
        )
        assert count.images / 4 == metric.evaluations() == num_repeats + 1


def test_a_mean_over_uneven_batches_is_the_time_of_all_over_the_images(monkeypatch):
    ticks = iter([0.0, 1.0, 10.0, 13.0, 20.0, 21.0, 30.0, 35.0])  # 3 seconds for six images, 5 for two
    monkeypatch.setattr(explanation_seconds, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    batch, metric = Batch.draw(8), ExplanationTime()
    for part in (batch[:6], batch[6:]):
        metric.update(model=tiny_net(), images=part.images, target=part.target, explainer=Sleeping(0.0, 0.0))
    assert metric.compute().item() == pytest.approx((3.0 + 5.0) / 8)


@pytest.mark.cuda
def test_waits_for_the_device():
    class Slow(Explainer):
        def explain(self, classifier, images, target):
            torch.cuda._sleep(200_000_000)  # cycles: about a tenth of a second
            return images[:, 0]

    batch = Batch.draw(2).to("cuda")
    found = explanation_time(tiny_net().cuda(), batch.images, Slow(), batch.target)
    assert found.min() > 0.01


def test_num_repeats_is_checked():
    with pytest.raises(ValueError, match="Expected `num_repeats` to be >= 1, but got 0"):
        ExplanationTime(num_repeats=0)
