"""What the tests of the relative stabilities share: the definition with loops, in float64, and their ENTRY."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from lightning_xai._randomness import content_keys, uniform
from lightning_xai.explainers.explainer import Explainer
from tests.metrics._harness import Batch, Entry, Squares, View, close, squares, tiny_net
from tests.metrics._naive import noise_unit

ARGUMENTS = ("model", "images", "heatmaps", "target", "explainer")


class SquaresAtLayer(Squares):
    """`Squares` with the layer that ``"auto"`` picks in `tiny_net`, so that no search is counted."""

    target_layer = "3"


class FirstValue(Explainer):
    """Explain by the image's first value everywhere."""

    evaluations = 0

    def explain(self, classifier, images, target):
        return images[:, 0, :1, :1].expand(-1, 2, 2)


def copies(view: View, radius: float, num_samples: int, seed: int) -> list[np.ndarray]:
    """Return the noisy images, as float32 makes them."""
    found = []
    for sample in range(num_samples):
        noise = uniform(content_keys(view.batch.images), view.image.shape, seed=seed, sample=sample)[0]
        found.append((view.batch.images[0] + radius * (2.0 * noise - 1.0)).double().numpy())
    return found


def activations(view: View, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return view.double[:4](torch.from_numpy(image)[None])[0].numpy()


def change(clean: np.ndarray, noisy: np.ndarray, relative: str) -> float:
    """Return the norm of the change over the clean norm, or the norm of the changes over the clean values."""
    if relative == "norm":
        return math.sqrt(((clean - noisy) ** 2).sum()) / max(math.sqrt((clean**2).sum()), 1e-6)
    total = 0.0
    for before, after in zip(clean.flat, noisy.flat, strict=True):
        total += ((before - after) / (before if before != 0 else 1e-6)) ** 2
    return math.sqrt(total)


def stability(denominator):
    """Return the reference of a stability whose ratios are divided by ``denominator(view, noisy image, relative)``."""

    def reference(view, radius=0.02, num_samples=10, relative="norm", seed=0, absolute=False):
        if not view.heat.any():
            return math.nan
        found = []
        for noisy in copies(view, radius * noise_unit(view, absolute), num_samples, seed):
            if view.logits(noisy).argmax() != view.logits(view.image).argmax():
                continue
            moved = change(view.heat, squares(noisy, view.target), relative)
            found.append(moved / max(denominator(view, noisy, relative), 1e-6))
        return max(found, default=math.nan)

    return reference


def stability_entry(alias, denominator):
    """Return how a stability joins the contract; see `stability`.

    Its radius is larger than the default: of two logits that differ by 0.1, float32 knows the difference to 1e-5 only.
    """
    variants = (
        {"num_samples": 3, "seed": 4},
        {"relative": "elementwise", "num_samples": 4},
        {"absolute": True, "radius": 1.0},
    )
    return Entry(
        alias, ARGUMENTS, stability(denominator), variants=variants, base={"radius": 0.2}, explainer=SquaresAtLayer()
    )


def close_at_defaults(entry):
    """Compare the metric's rows with the definition at the default settings."""
    batch, net = Batch.draw(6), tiny_net()
    defaults = replace(entry, base={})
    close(defaults.updated(batch, net).rows, defaults.expected(batch, net), 1e-4)
