from __future__ import annotations

import pytest
import torch

from lightning_xai.evidence import Case
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics._harness import Batch, EvaluationCount, tiny_net


def _hidden(size, **settings):
    """Return what each patch hides, boolean (rows, columns, H, W): the model returns its image."""
    evidence = OcclusionMap(**settings)
    found = Case(torch.nn.Flatten(), torch.ones(1, 1, *size))[evidence]
    return (found == 0.0).view(*evidence.grid, *size)


def test_by_hand():
    hidden = _hidden((4, 6), grid=(2, 3), patch=0.5)  # patches of two pixels, one per cell
    for i in range(2):
        for j in range(3):
            expected = torch.zeros(4, 6, dtype=torch.bool)
            expected[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = True
            assert torch.equal(hidden[i, j], expected)


def test_patches_are_cut_off_at_the_border():
    hidden = _hidden((4, 4), grid=(2, 2), patch=1.0)  # four pixels around (1, 1): from −1 to 3
    assert hidden[0, 0].nonzero().amin(0).tolist() == [0, 0]
    assert hidden[0, 0].nonzero().amax(0).tolist() == [2, 2]
    assert hidden[1, 0].nonzero().amin(0).tolist() == [1, 0]


@pytest.mark.parametrize("size", [(1, 2), (2, 3), (5, 3), (9, 11), (28, 28)])
def test_every_patch_hides_something_and_every_pixel_is_hidden(size):
    hidden = _hidden(size)
    assert hidden.flatten(2).any(2).all()
    assert hidden.flatten(0, 1).any(0).all()


def test_drops_are_those_of_the_target():
    batch, net = Batch.draw(3), tiny_net()
    evidence = OcclusionMap(grid=(2, 2), baseline="uniform", seed=4)
    case = Case(net, batch.images, batch.target)
    drops = evidence.drops(case)
    assert drops.shape == (3, 2, 2)
    probability = case.classifier.probabilities(case.logits)[range(3), batch.target]
    occluded = case.classifier.probabilities(case[evidence].flatten(0, 1)).view(3, 4, -1)
    expected = probability[:, None] - occluded[torch.arange(3), :, batch.target]
    torch.testing.assert_close(drops.flatten(1), expected)


def test_no_more_than_a_chunk_at_a_time():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    found = []
    for chunk_size in (1, 7, 1000):
        count.largest = 0
        classifier = Classifier(net, Readout(chunk_size=chunk_size))
        found.append(Case(classifier, batch.images)[OcclusionMap()])
        assert count.largest == min(chunk_size, 3 * 196)
        torch.testing.assert_close(found[-1], found[0])


@pytest.mark.parametrize("size", [(14, 7), (9, 11), (28, 30), (3, 5), (1, 2)])
def test_without_a_patch_the_cells_themselves_are_hidden(size):
    hidden = _hidden(size, grid=(7, 7), patch=None)
    assert hidden.flatten(2).any(2).all()
    times = hidden.flatten(0, 1).sum(0)
    whole = times if min(size) >= 7 else times[:0]
    assert bool((whole == 1).all())  # a partition; of fewer pixels than cells, several cells hide the same pixel
    if size == (14, 7):
        assert hidden[3, 2].nonzero().tolist() == [[6, 2], [7, 2]]


def test_drops_of_the_log_odds_are_those_of_the_probability_in_other_words():
    batch, net = Batch.draw(3), tiny_net()
    evidence = OcclusionMap(grid=(2, 3), patch=None, baseline="blur")
    case = Case(net, batch.images, batch.target)
    probability = case.classifier.probabilities(case.logits)[range(3), batch.target].double()
    hidden = probability[:, None] - evidence.drops(case).flatten(1).double()
    torch.testing.assert_close(
        evidence.log_odds_drops(case).flatten(1).double(),
        probability.logit()[:, None] - hidden.logit(),
        rtol=1e-4,
        atol=1e-4,
    )
