"""Random masks of cells: each cell kept by a coin of its own, or by the rows of an orthogonal array."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_xai._randomness import uniform

CellSampling = Literal["orthogonal", "independent"]
_STEPS = (12664746, 9560334)  # 2**24 / ρ and 2**24 / ρ², ρ = 1.3247 (ρ³ = ρ + 1): a sequence that fills the square
_UNIT = 1 << 24
_BELOW_ONE = 1 - 2**-24


def independent_cells(index: Tensor, grid: int, probability: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return which cells each mask keeps and where it is cut, all drawn independently.

    Args:
        index: Numbers of the masks, int64 (m,), from 0.
        grid: Cells per side.
        probability: Of keeping a cell.
        seed: Of what is drawn.

    Returns:
        Boolean (m, grid²), and two numbers in [0, 1), float32 (m, 2).
    """
    drawn = uniform(torch.zeros_like(index), (grid**2 + 2,), seed=seed, sample=index)
    return drawn[:, :-2] < probability, drawn[:, -2:]


def orthogonal_cells(index: Tensor, grid: int, probability: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return the same by randomised orthogonal arrays: each mask is drawn as above, but masks balance each other.

    Masks come in blocks of 2R, R the power of 2 that holds all cells. The k-th row of a Hadamard matrix of order R says
    of each cell whether its number is in the lower or the upper half of [0, 1) in the first mask of the k-th pair; in
    the second it is in the other half. Over the pairs, it comes once into each of R equal parts of its half. Rows and
    columns are in an order drawn per block, and each column is flipped by a coin. In a block any three cells take their
    eight patterns of halves equally often (strength 3), and all masks are cut at one place, of a Kronecker sequence
    with a random start.

    Source: randomised orthogonal arrays are of Owen, "Orthogonal arrays for computer experiments, integration and
    visualization", Statistica Sinica 1992; pairs of opposites are known as foldover.

    Args:
        index: Numbers of the masks, int64 (m,), from 0.
        grid: Cells per side.
        probability: Of keeping a cell: with ½, the halves decide.
        seed: Of what is drawn.

    Returns:
        Boolean (m, grid²), and two numbers in [0, 1), float32 (m, 2).
    """
    cells, order = grid**2, block_size(grid) // 2
    block, pair, second = index // (2 * order), index // 2 % order, index % 2
    drawn = uniform(torch.zeros_like(index), (2 * order + cells,), seed=seed, sample=block, purpose="orthogonal masks")
    row = drawn[:, :order].argsort(dim=1, stable=True).gather(1, pair[:, None])
    column = drawn[:, order : 2 * order].argsort(dim=1, stable=True)[:, :cells]
    flipped = drawn[:, 2 * order :] < 0.5
    upper = _sylvester(row, column, order) ^ flipped ^ second.bool()[:, None]
    keys = uniform(torch.zeros_like(index), (4, cells), seed=seed, sample=block, purpose="parts of orthogonal masks")
    part = _permuted(pair[:, None], (keys * order).long(), order)
    within = (part + uniform(torch.zeros_like(index), (cells,), seed=seed, sample=index)) / order
    kept = within.clamp(max=_BELOW_ONE) < 2 * probability - upper.float()  # the sum may round to the next part
    return kept, _places(block, seed)


def block_size(grid: int) -> int:
    """Return how many masks of ``grid × grid`` cells balance each other."""
    return 2 << (grid**2 - 1).bit_length()


def _sylvester(row: Tensor, column: Tensor, order: int) -> Tensor:
    """Return where Sylvester's Hadamard matrix is −1: rows and columns share an odd number of binary digits."""
    digits = torch.arange(order.bit_length(), device=row.device)
    return ((row & column)[..., None] >> digits & 1).sum(-1) % 2 == 1


def _permuted(number: Tensor, keys: Tensor, order: int) -> Tensor:
    """Return where each cell's permutation takes a number in [0, order), a power of 2; (m, 1), (m, 4, cells)."""
    first, second, third, last = keys.unbind(1)
    mixed = (number ^ first) * (2 * second + 1) % order
    mixed = mixed ^ mixed >> order.bit_length() // 2
    return mixed * (2 * third + 1) % order ^ last


def _places(block: Tensor, seed: int) -> Tensor:
    """Return the place of each block, in whole 2⁻²⁴ so that it is the same on any device, (m, 2)."""
    start = uniform(torch.zeros_like(block[:1]), (2,), seed=seed, purpose="places of orthogonal masks")
    step = torch.tensor(_STEPS, device=block.device)
    return ((start * _UNIT).long() + block[:, None] * step) % _UNIT / _UNIT
