"""Masks that stand for others: against k-means written naively, and by hand."""

import numpy as np
import pytest
import torch

from lightning_xai.explainers.cam.representatives import representatives


def naive(points, weights, count, rounds=10):
    """Farthest-first and Lloyd's algorithm in float64, one point at a time."""
    taken = [int(np.argmax((points**2).sum(1)))]
    while len(taken) < count:
        gaps = [min(((point - points[t]) ** 2).sum() for t in taken) for point in points]
        taken.append(int(np.argmax(gaps)))
    centres = points[taken].copy()
    for _ in range(rounds):
        groups = [int(np.argmin(((centres - point) ** 2).sum(1))) for point in points]
        for number in range(count):
            members = [group == number for group in groups]
            if any(members):
                centres[number] = np.average(points[members], axis=0, weights=weights[members])
    chosen = sorted({int(np.argmin(((points - centre) ** 2).sum(1))) for centre in centres})
    return [chosen[int(np.argmin(((points[chosen] - point) ** 2).sum(1)))] for point in points]


@pytest.mark.parametrize("count", [1, 2, 5, 11, 29])
def test_equals_k_means_written_naively(count):
    drawn = torch.rand(30, 7, generator=torch.Generator().manual_seed(count))
    masks, weights = drawn[:, 1:].view(30, 3, 2), drawn[:, 0]
    found = representatives(masks, weights, count)
    assert found.tolist() == naive(drawn[:, 1:].double().numpy(), weights.double().numpy(), count)
    assert len(found.unique()) == count
    assert torch.equal(found[found], found)  # each that stands for others stands for itself


def test_groups_that_are_plain_to_see():
    line = torch.tensor([0.0, 9.0, 0.2, 9.1, 5.0, 0.1, 8.9])
    assert representatives(line.view(7, 1, 1), torch.ones(7), 3).tolist() == [5, 1, 5, 1, 4, 5, 1]


@pytest.mark.parametrize("count", [4, 5])
def test_all_stand_for_themselves_where_there_are_no_more(count):
    assert representatives(torch.rand(4, 2, 2), torch.ones(4), count).tolist() == [0, 1, 2, 3]


def test_of_a_pair_the_weightier_stands_for_both():
    pair = torch.tensor([[[0.0]], [[1.0]]])
    assert representatives(pair, torch.tensor([2.0, 3.0]), 1).tolist() == [1, 1]
    assert representatives(pair, torch.tensor([3.0, 2.0]), 1).tolist() == [0, 0]


def test_equal_masks_are_taken_once():
    assert len(representatives(torch.ones(6, 2, 2), torch.ones(6), 3).unique()) == 1
