"""The definition of a skill, with loops, in float64, from what METRICS.md says."""

from __future__ import annotations

import math

import numpy as np
import torch

from lightning_xai._randomness import content_keys, uniform
from tests.metrics import _naive
from tests.metrics._harness import View

GRID = 7


def bilinear(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return cells drawn at another size: straight between their centres, level outside of these."""
    found = np.zeros(size)
    for y, x in np.ndindex(size):
        value = 0.0
        for i, down in _weights(y, size[0], cells.shape[0]):
            for j, across in _weights(x, size[1], cells.shape[1]):
                value += down * across * cells[i, j]
        found[y, x] = value
    return found


def _weights(pixel: int, length: int, count: int) -> list[tuple[int, float]]:
    place = min(max((pixel + 0.5) * count / length - 0.5, 0.0), count - 1.0)
    low = min(int(place), count - 1)
    return [(low, 1.0 - (place - low)), (min(low + 1, count - 1), place - low)]


def random_control(view: View) -> np.ndarray:
    noise = uniform(content_keys(view.batch.images), (GRID, GRID), seed=0)[0].double().numpy()
    return bilinear(noise, view.heat.shape)


def occlusion_reference(view: View) -> np.ndarray:
    """Return the drop of the class's log-odds with each cell blurred: the pixels whose centres lie in it."""
    height, width = view.heat.shape
    blurred, drops = _naive.blurred(view.image), np.zeros((GRID, GRID))
    for i, j in np.ndindex(drops.shape):
        hidden = view.image.copy()
        for y, x in np.ndindex(height, width):
            if _covers(i, y, height) and _covers(j, x, width):
                hidden[:, y, x] = blurred[:, y, x]
        drops[i, j] = log_odds(view, view.image) - log_odds(view, hidden)
    return bilinear(drops, (height, width))


def _covers(cell: int, pixel: int, length: int) -> bool:
    """Return whether a cell, at least a pixel wide, holds the centre of a pixel."""
    centre, half = (cell + 0.5) * length / GRID, max(length / GRID, 1.0) / 2
    return centre - half <= pixel + 0.5 < centre + half


def log_odds(view: View, image: np.ndarray) -> float:
    probability = view.f(image)
    return math.log(probability / (1.0 - probability))


def with_heat(view: View, heat: np.ndarray) -> View:
    return View(view.batch.with_heatmaps(torch.from_numpy(heat)[None]), view.net)


def rows(view: View, score) -> tuple[float, float, float]:
    """Return what the heatmap, the random control and the occlusion reference score."""
    return (
        score(view),
        score(with_heat(view, random_control(view))),
        score(with_heat(view, occlusion_reference(view))),
    )


def value(found: torch.Tensor) -> torch.Tensor:
    """Return the ratio of sums where the reference beats the control by the floor of the definition."""
    gap = [float(reference - control) for _, control, reference in found]
    count = len(gap)
    if count < 2:
        return torch.tensor(torch.nan)
    mean = sum(gap) / count
    error = math.sqrt(sum((one - mean) ** 2 for one in gap) / (count - 1) / count)
    gained = [float(heatmap - control) for heatmap, control, _ in found]
    return torch.tensor(sum(gained) / sum(gap) if mean >= max(2 * error, 0.02) else torch.nan)


def left_out(found: torch.Tensor) -> torch.Tensor:
    """Return the ratio without each image; whether there is one is asked of all."""
    if value(found).isnan():
        return torch.full((len(found),), torch.nan)
    others = [torch.cat([found[:i], found[i + 1 :]]) for i in range(len(found))]
    return torch.stack([(one[:, 0] - one[:, 1]).sum() / (one[:, 2] - one[:, 1]).sum() for one in others])
