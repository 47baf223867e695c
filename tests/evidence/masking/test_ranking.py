from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_xai._randomness import content_keys, random_bits
from lightning_xai.evidence import ranks

TIED = torch.tensor([0.0, -0.0, 0.5, 0.5, -1.0, 0.0, 3e-39, -3e-39, 0.5, -1.0, 1e30, -1e30])


def _relevance(rows=40, seed=0):
    random = torch.Generator().manual_seed(seed)
    shuffled = torch.stack([TIED[torch.randperm(len(TIED), generator=random)] for _ in range(rows)])
    return torch.cat([shuffled, torch.randn(rows, len(TIED), generator=random)])


def _positions(sequence):
    positions = np.empty_like(sequence)
    positions[sequence] = np.arange(len(sequence))
    return positions


@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("ties", ["first", "last", "random"])
def test_equals_numpy_lexsort(ties, order):
    relevance = _relevance()
    keys = torch.arange(len(relevance)) * 12345
    index = np.arange(len(TIED))
    for seed in (0, 3):
        found = ranks(relevance, keys, ties=ties, order=order, seed=seed)
        breakers = random_bits(keys, (len(TIED),), seed=seed, purpose="ties").numpy()
        for row, heat in enumerate(relevance.numpy()):
            tie = {"first": index, "last": -index, "random": -breakers[row]}[ties]
            primary = -heat if order == "morf" else heat
            assert found[row].tolist() == _positions(np.lexsort((tie, primary))).tolist()


def test_ties_last_is_the_published_flip_of_an_ascending_sort():
    relevance = _relevance()
    found = ranks(relevance, torch.zeros(len(relevance), dtype=torch.long), ties="last")
    for row, heat in enumerate(relevance.numpy()):
        published = np.flip(np.argsort(heat, kind="stable")).copy()
        assert found[row].tolist() == _positions(published).tolist()


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_negative_zero_is_zero(order):
    keys = torch.zeros(1, dtype=torch.long)
    found = ranks(torch.tensor([[0.0, -0.0, 0.0, -0.0]]), keys, ties="first", order=order)
    assert found.tolist() == [[0, 1, 2, 3]]


def test_infinity_is_ordered_too():
    keys = torch.zeros(1, dtype=torch.long)
    relevance = torch.tensor([[-torch.inf, 0.0, torch.inf, -3e38]])
    assert ranks(relevance, keys).tolist() == [[3, 1, 0, 2]]
    assert ranks(relevance, keys, order="lerf").tolist() == [[0, 2, 3, 1]]


def test_lerf_is_the_reverse_without_ties():
    relevance = torch.randn(5, 20)
    keys = torch.arange(5)
    assert torch.equal(ranks(relevance, keys, order="lerf"), 19 - ranks(relevance, keys))


def test_random_ties_belong_to_the_image():
    images = torch.rand(6, 1, 4, 4)
    keys, relevance = content_keys(images), torch.zeros(6, 16)
    together = ranks(relevance, keys)
    assert len({tuple(row) for row in together.tolist()}) == 6
    for i in range(6):
        assert torch.equal(ranks(relevance[[i]], keys[[i]])[0], together[i])
    assert not torch.equal(ranks(relevance, keys, seed=1), together)


def test_random_ties_are_uniform_over_orders():
    found = ranks(torch.zeros(6000, 3), content_keys(torch.arange(6000.0).view(-1, 1, 1, 1)))
    counts = torch.bincount((found * torch.tensor([9, 3, 1])).sum(1), minlength=27)
    counts = counts[counts > 0]
    assert len(counts) == 6
    assert ((counts - 1000).float().square() / 1000).sum() < 20.5  # chi square, 5 degrees, p = 0.001


def test_precision_does_not_create_ties():
    heat = torch.tensor([[1.0, 1.0 + 2**-23, 1.0 + 2**-22]])
    assert ranks(heat, torch.zeros(1, dtype=torch.long), ties="first").tolist() == [[2, 1, 0]]
