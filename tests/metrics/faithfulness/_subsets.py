"""Random subsets of cells, removed together, naively."""

from __future__ import annotations

import numpy as np

from lightning_xai._randomness import content_keys, uniform
from tests.metrics import _naive
from tests.metrics._harness import View


def subset_drops(view: View, sizes, num_subsets: int, grid, baseline, seed: int, score) -> list[tuple[list, list]]:
    """Return for each size the summed heat and the fall of ``score`` for each subset."""
    height, width = view.heat.shape
    cell = np.array(
        [[(y * grid[0] // height) * grid[1] + x * grid[1] // width for x in range(width)] for y in range(height)]
    )
    fill = _naive.replaced(view, baseline, seed)
    found = []
    for i, size in enumerate(sizes):
        attributions, drops = [], []
        for j in range(num_subsets):
            numbers = uniform(
                content_keys(view.batch.images),
                (grid[0] * grid[1],),
                seed=seed,
                sample=i * num_subsets + j,
                purpose="subsets",
            )[0]
            removed = np.isin(cell, np.argsort(numbers.numpy(), kind="stable")[:size])
            attributions.append(float(view.heat[removed].sum()))
            drops.append(score(view.image) - score(np.where(removed, fill, view.image)))
        found.append((attributions, drops))
    return found
