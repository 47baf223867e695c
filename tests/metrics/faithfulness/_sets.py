"""Consecutive sets of a ranking, each removed alone, naively."""

from __future__ import annotations

import numpy as np

from lightning_xai._randomness import content_keys, uniform
from tests.metrics import _naive
from tests.metrics._harness import View


def set_drops(view: View, num_sets: int, heat: np.ndarray, seed: int, frames) -> tuple[list[float], list[list[float]]]:
    """Return each set's summed heat, and the falls of the score for each of its frames (image, places) -> images."""
    flat = heat.ravel()
    sequence = _naive.removal_order(flat, _naive.tie_breakers(view, flat.size, seed), "random")
    attributions, drops = [], []
    for k in range(num_sets):
        members = sequence[round(k * flat.size / num_sets) : round((k + 1) * flat.size / num_sets)]
        places = np.zeros(flat.size, dtype=bool)
        places[members] = True
        attributions.append(float(flat[members].sum()))
        drops.append([view.f(view.image) - view.f(frame) for frame in frames(places.reshape(heat.shape))])
    return attributions, drops


def noise(view: View, seed: int, sample: int) -> np.ndarray:
    drawn = uniform(content_keys(view.batch.images), view.image.shape, seed=seed, sample=sample, purpose="baseline")
    return view.image.min() + drawn[0].double().numpy() * (view.image.max() - view.image.min())
