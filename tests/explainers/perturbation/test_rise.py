"""RISE by value: the paper's masks and the paper's sum."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai import RISE, Classifier
from lightning_xai._randomness import uniform
from lightning_xai.explainers.perturbation.cell_sampling import independent_cells, orthogonal_cells
from tests.explainers.perturbation import _naive
from tests.explainers.perturbation._probability import images, network, probability

TARGET = torch.tensor([0, 2, 1])


def drawn(rise, number):
    """Return cells and place in [0, 1)² of an independent mask."""
    values = uniform(torch.zeros(1, dtype=torch.int64), (rise.grid**2 + 2,), seed=rise.seed, sample=number)[0]
    return (values[:-2].view(rise.grid, -1) < rise.probability).double().numpy(), values[-2:].tolist()


@pytest.mark.parametrize("size", [(16, 12), (21, 21), (5, 30)])
@pytest.mark.parametrize(("grid", "probability"), [(7, 0.5), (3, 0.2), (1, 0.5), (2, 1.0)])
def test_independent_masks_equal_the_paper_s(size, grid, probability):
    rise = RISE(grid=grid, probability=probability, seed=3, sampling="independent")
    for number, mask in enumerate(rise.masks(torch.arange(6), size)):
        cells, place = drawn(rise, number)
        shift = [int(p * -(-length // grid)) for p, length in zip(place, size, strict=True)]
        expected = _naive.rise_mask(cells, size, shift)
        torch.testing.assert_close(mask.double(), torch.from_numpy(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampling", ["orthogonal", "independent"])
def test_masks_keep_a_pixel_with_the_given_probability_and_are_cut_anywhere(sampling):
    rise = RISE(probability=0.3, sampling=sampling)
    masks = rise.masks(torch.arange(4000), (28, 28))
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.01)
    assert float((masks.mean(0) - 0.3).abs().max()) < 0.04
    draw = {"orthogonal": orthogonal_cells, "independent": independent_cells}[sampling]
    places = draw(torch.arange(0, 128 * 300, 128), 7, 0.3, seed=0)[1] * 4
    assert torch.bincount(places.long().flatten(), minlength=4).min() > 100


@pytest.mark.parametrize("sampling", ["orthogonal", "independent"])
def test_masks_belong_to_their_number_and_the_seed(sampling):
    rise = RISE(sampling=sampling)
    masks = rise.masks(torch.arange(140), (16, 16))
    assert torch.equal(rise.masks(torch.tensor([130, 7, 3]), (16, 16)), masks[[130, 7, 3]])
    others = RISE(seed=1, sampling=sampling).masks(torch.arange(140), (16, 16))
    assert len(torch.cat([masks, others]).unique(dim=0)) == 280


@pytest.mark.parametrize("sampling", ["orthogonal", "independent"])
@pytest.mark.parametrize("chunk_size", [3, 7, 200])
def test_equals_the_naive_sum_with_the_same_masks(chunk_size, sampling):
    net, batch = network(), images()
    rise = RISE(num_masks=50, grid=4, probability=0.4, seed=2, sampling=sampling)
    masks = rise.masks(torch.arange(50), (16, 12)).double().numpy()
    heatmaps = rise(Classifier(net, chunk_size=chunk_size), batch, TARGET)
    for heatmap, image, target in zip(heatmaps, batch, TARGET, strict=True):
        expected = _naive.rise(probability(net, int(target)), image.double().numpy(), masks, 0.4)
        np.testing.assert_allclose(heatmap.double().numpy(), expected, rtol=0, atol=2e-6)


def test_of_a_constant_probability_is_the_mean_mask():
    rise = RISE(num_masks=50, sampling="independent")
    heatmap = rise(nn.Sequential(nn.Flatten(), Constant()), torch.ones(1, 1, 14, 14), 1)[0]
    expected = rise.masks(torch.arange(50), (14, 14)).mean(0) * 0.75 / 0.5
    torch.testing.assert_close(heatmap, expected)


def test_of_a_constant_probability_is_constant_where_masks_balance_each_other():
    heatmap = RISE(num_masks=50)(nn.Sequential(nn.Flatten(), Constant()), torch.ones(1, 1, 14, 14), 1)[0]
    torch.testing.assert_close(heatmap, torch.full((14, 14), 0.75))


class Constant(nn.Module):
    def forward(self, x):
        return torch.full((len(x),), 3.0).log()  # one logit of probability 3/4


@pytest.mark.parametrize("chunk_size", [4, 64])
def test_memory_does_not_grow_with_the_number_of_masks(chunk_size):
    net, sizes = network(), []
    net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    RISE(num_masks=41)(Classifier(net, chunk_size=chunk_size), images(), TARGET)
    assert max(sizes) <= chunk_size
    assert sum(sizes) == 3 * RISE(num_masks=41).evaluations == 123
    assert len(sizes) == -(-123 // chunk_size)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"num_masks": 0}, ValueError, "`num_masks` to be >= 1"),
        ({"grid": 0}, ValueError, "`grid` to be >= 1"),
        ({"grid": 7.0}, TypeError, "`grid` to be a whole number"),
        ({"probability": 0.0}, ValueError, "`probability` to be > 0"),
        ({"probability": 1.5}, ValueError, "`probability` to be at most 1, but got 1.5"),
        ({"seed": "x"}, TypeError, "`seed` to be a whole number"),
        (
            {"sampling": "orthogonl"},
            ValueError,
            "`sampling` to be one of 'orthogonal', 'independent', but got 'orthogonl'. Did you mean 'orthogonal'",
        ),
    ],
)
def test_wrong_settings_are_said(settings, error, words):
    with pytest.raises(error, match=f"Expected {words}"):
        RISE(**settings)
