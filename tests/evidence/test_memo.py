from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import pytest
import torch

from lightning_xai.evidence import Case, Evidence, MaskingCurve, Ranking
from lightning_xai.evidence.evidence import Memo
from lightning_xai.metrics import DeletionAUC, InsertionAUC, MetricSuite
from tests.metrics._harness import Batch, tiny_net


@dataclass(frozen=True)
class Fact(Evidence):
    setting: int = 0

    def collect(self, case):
        raise NotImplementedError

    def evaluations(self, explaining=1):
        return 0


class Collector:
    """Collects weakly referable facts and counts them."""

    def __init__(self):
        self.count = 0

    def __call__(self, evidence):
        self.count += 1
        return torch.zeros(1)


def test_announcing_says_whether_a_collection_follows():
    memo, collect = Memo(), Collector()
    assert [memo.announce(Fact()), memo.announce(Fact()), memo.announce(Fact(1))] == [True, False, True]
    memo.read(Fact(), collect)
    assert memo.announce(Fact()) is False  # still kept for the second reader
    for _ in range(2):
        memo.read(Fact(), collect)
    assert collect.count == 1
    assert memo.announce(Fact()) is True  # freed after the third
    memo.read(Fact(2), collect)  # not announced: kept for good
    assert memo.announce(Fact(2)) is False


def test_a_failure_is_freed_after_its_last_reader_too():
    memo, calls = Memo(), []

    def fail(evidence):
        calls.append(evidence)
        return RuntimeError("no")

    for _ in range(2):
        memo.announce(Fact())
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no"):
            memo.read(Fact(), fail)
    assert len(calls) == 2  # the third reading was not announced


@pytest.fixture
def sorted_rankings(monkeypatch):
    """Weak references to the ranks of every sorting."""
    found, collect = [], Ranking.collect

    def noted(self, case):
        ranks = collect(self, case)
        found.append(weakref.ref(ranks))
        return ranks

    monkeypatch.setattr(Ranking, "collect", noted)
    return found


def alive(references):
    gc.collect()
    return [reference() is not None for reference in references]


def drawn_case(count=3):
    batch = Batch.draw(count)
    return Case(tiny_net(), batch.images, batch.target, heatmaps=batch.heatmaps)


def test_curves_in_both_directions_share_one_sorting_which_is_freed(sorted_rankings):
    case, suite = drawn_case(), MetricSuite([InsertionAUC(4), DeletionAUC(4)])
    for number in (1, 2):  # the same case may be scored again
        suite.score(case)
        assert alive(sorted_rankings) == [False] * number


def test_another_order_is_another_sorting(sorted_rankings):
    case = drawn_case()
    curves = [
        MaskingCurve(num_steps=2),
        MaskingCurve("insertion", num_steps=2),
        MaskingCurve(order="lerf", num_steps=2),
    ]
    for curve in curves:
        assert curve.reads == (Ranking(order=curve.order),)
        case.announce(curve)
    case[curves[0]]
    assert alive(sorted_rankings) == [True]  # the second curve reads it too
    case[curves[1]]
    assert alive(sorted_rankings) == [False]
    case[curves[2]]
    assert alive(sorted_rankings) == [False, False]


def test_a_ranking_that_nobody_announced_is_kept(sorted_rankings):
    case = drawn_case()
    case[MaskingCurve(num_steps=2)]
    case[MaskingCurve("insertion", num_steps=2)]
    assert alive(sorted_rankings) == [True]


def test_a_curve_that_is_known_announces_no_ranking(sorted_rankings):
    case, curve = drawn_case(), MaskingCurve(num_steps=2)
    case[curve]
    case.announce(curve)
    case[curve]
    case[MaskingCurve("insertion", num_steps=2)]
    assert alive(sorted_rankings) == [True]
