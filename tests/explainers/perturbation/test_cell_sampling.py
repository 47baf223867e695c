"""Masks of cells: an orthogonal array by its definition, and no bias by enumerating every mask there is."""

import itertools
import math

import numpy as np
import pytest
import torch

from lightning_xai import RISE
from lightning_xai.explainers.perturbation.cell_sampling import block_size, independent_cells, orthogonal_cells
from tests.explainers.perturbation import _naive

DRAWS = (orthogonal_cells, independent_cells)


@pytest.mark.parametrize(("grid", "masks"), [(1, 2), (2, 8), (3, 32), (4, 32), (7, 128), (8, 128), (9, 256)])
def test_three_cells_take_their_patterns_equally_often_in_each_block(grid, masks):
    assert block_size(grid) == masks
    kept, places = orthogonal_cells(torch.arange(2 * masks), grid, 0.5, seed=5)
    for block in range(2):
        mine = slice(block * masks, (block + 1) * masks)
        for cells in itertools.islice(itertools.combinations(range(grid**2), min(3, grid**2)), 0, None, 97):
            patterns = torch.unique(kept[mine][:, cells], dim=0, return_counts=True)[1]
            assert patterns.tolist() == [masks // 2 ** len(cells)] * 2 ** len(cells)
        assert len(places[mine].unique(dim=0)) == 1
    assert not torch.equal(places[0], places[masks])


@pytest.mark.parametrize("probability", [0.25, 0.3, 0.75])
def test_each_cell_is_kept_in_its_share_of_a_block(probability):
    kept, _ = orthogonal_cells(torch.arange(256), 7, probability, seed=5)
    for block in kept.split(128):
        counts = block.sum(0)
        assert (counts - 128 * probability).abs().max() < 1  # 64 parts per half
        assert len(block.unique(dim=0)) > 120


def test_a_pair_of_masks_keeps_each_cell_once():
    kept, _ = orthogonal_cells(torch.arange(300), 7, 0.5, seed=1)
    assert torch.equal(kept[::2], ~kept[1::2])


def test_rows_and_columns_are_those_of_a_hadamard_matrix():
    kept, _ = orthogonal_cells(torch.arange(8), 2, 0.5, seed=9)
    signs = kept[::2].double() * 2 - 1
    torch.testing.assert_close(signs @ signs.T, 4 * torch.eye(4, dtype=torch.float64))


def first_of_each_block(masks, blocks=4000):
    """Return the numbers of the first masks of blocks of 2 × 2 cells, (blocks, masks); blocks are independent."""
    return torch.arange(blocks)[:, None] * block_size(2) + torch.arange(masks)


@pytest.mark.parametrize("probability", [0.5, 0.3, 0.8])
@pytest.mark.parametrize("draw", DRAWS)
def test_each_single_mask_has_the_distribution_of_independent_cells(draw, probability):
    numbers = first_of_each_block(6)
    for number in (0, 5):
        kept, _ = draw(numbers[:, number], 2, probability, seed=3)
        found = torch.bincount((kept.long() * torch.tensor([1, 2, 4, 8])).sum(1), minlength=16) / 4000
        for pattern in range(16):
            size = pattern.bit_count()
            expected = probability**size * (1 - probability) ** (4 - size)
            assert abs(float(found[pattern]) - expected) < 4.5 * math.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.parametrize("masks", [3, 8])
@pytest.mark.parametrize("probability", [0.5, 0.3])
@pytest.mark.parametrize("sampling", ["orthogonal", "independent"])
def test_the_mean_of_maps_is_the_expectation_over_every_mask(sampling, probability, masks):
    """In float64, of a function with interactions of all orders: all 2⁴ patterns at all 2² places."""
    size, effect = (4, 4), np.random.RandomState(0).standard_normal((4, 4))

    def score(seen):  # (..., 4, 4)
        joint = seen[..., 0, 0] * seen[..., 3, 3] * seen[..., 0, 3]
        return 1 / (1 + np.exp(-((effect * seen).sum((-2, -1)) + 3 * joint)))

    exact = np.zeros(size)
    for cells in itertools.product([0.0, 1.0], repeat=4):
        likely = np.prod([probability if cell else 1 - probability for cell in cells])
        for shift in itertools.product(range(2), repeat=2):
            mask = _naive.rise_mask(np.array(cells).reshape(2, 2), size, shift)
            exact += likely / 4 * score(mask) * mask / probability
    numbers = first_of_each_block(masks)
    rise = RISE(grid=2, probability=probability, sampling=sampling)
    drawn = rise.masks(numbers.flatten(), size).double().numpy().reshape(*numbers.shape, *size)
    maps = (score(drawn)[..., None, None] * drawn).mean(1) / probability
    error = maps.std(0) / math.sqrt(len(maps))
    assert (np.abs(maps.mean(0) - exact) < 4.5 * error).all()
    assert error.max() < 0.02


def test_nothing_linear_is_left_to_chance_and_pairs_of_cells_do_not_disturb():
    """f = c + Σ a_i z_i + Σ b_ij z_i z_j: each block gives p·f̄ + p(1 − p)·a exactly, whatever is drawn."""
    generator = torch.Generator().manual_seed(0)
    linear = torch.rand(9, dtype=torch.float64, generator=generator)
    pairs = torch.rand(9, 9, dtype=torch.float64, generator=generator).triu(1)
    for seed in range(5):
        kept = orthogonal_cells(torch.arange(32), 3, 0.5, seed=seed)[0].double()
        signs = 2 * kept - 1
        values = 0.3 + signs @ linear + ((signs @ pairs) * signs).sum(1)
        torch.testing.assert_close((values[:, None] * kept).mean(0), 0.15 + 0.5 * linear)


@pytest.mark.parametrize("draw", DRAWS)
def test_nothing_is_hidden_with_certainty_to_keep(draw):
    assert draw(torch.arange(5000), 7, 1.0, seed=0)[0].all()


def test_masks_do_not_depend_on_the_chunk_they_are_drawn_in():
    whole = orthogonal_cells(torch.arange(300), 7, 0.4, seed=2)
    parts = [orthogonal_cells(part, 7, 0.4, seed=2) for part in torch.arange(300).split(37)]
    for one, several in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one, torch.cat(several))
