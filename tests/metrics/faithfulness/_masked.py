"""Images seen through their heatmap, naively."""

from __future__ import annotations

import math

import numpy as np

from tests.metrics._harness import View


def normalized(heat: np.ndarray) -> np.ndarray | None:
    low, high = heat.min(), heat.max()
    return None if high - low <= 1e-8 * np.abs(heat).max() else (heat - low) / (high - low)


def seen(view: View) -> np.ndarray | None:
    mask = normalized(view.heat)
    return None if mask is None else view.image * mask


def logit(view: View, image: np.ndarray) -> float:
    return float(view.logits(image)[view.target])


def rest(view: View, image: np.ndarray) -> float:
    logits = view.logits(image)
    exponentials = np.exp(logits - logits.max())
    return float(np.delete(exponentials, view.target).sum() / exponentials.sum())


def correct(view: View, image: np.ndarray) -> float:
    return float(view.logits(image).argmax() == view.target)


def pearson(a: list[float], b: list[float]) -> float:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if any(v.max() - v.min() <= 1e-8 * np.abs(v).max() for v in (a, b)):
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
