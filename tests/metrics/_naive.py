"""The definitions of METRICS.md, written with loops, in float64, without the package's code.

Random numbers (ties, noise) are taken from the package as given: their quality is tested in `tests/test_randomness.py`.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from scipy import ndimage

from lightning_xai._randomness import content_keys, random_bits, uniform
from tests.metrics._harness import View


def removal_order(values: np.ndarray, breakers: np.ndarray, ties: str, order: str = "morf") -> list[int]:
    """Return indices, first removed first."""
    sign = -1.0 if order == "morf" else 1.0

    def key(i: int) -> tuple[float, int]:
        tie = {"first": i, "last": -i, "random": -int(breakers[i])}[ties]
        return (sign * values[i], tie)

    return sorted(range(len(values)), key=key)


def tie_breakers(view: View, count: int, seed: int) -> np.ndarray:
    return random_bits(content_keys(view.batch.images), (count,), seed=seed, purpose="ties")[0].numpy()


def blurred(image: np.ndarray) -> np.ndarray:
    """Return RISE's blur: scipy's Gaussian filter of an 11×11 impulse, zero-padded convolution."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1.0
    kernel = ndimage.gaussian_filter(impulse, 5)
    return np.stack([ndimage.convolve(channel, kernel, mode="constant", cval=0.0) for channel in image])


def replaced(view: View, baseline: float | str, seed: int) -> np.ndarray:
    image = view.image
    if baseline == "blur":
        return blurred(image)
    if baseline == "minimum":
        return np.full_like(image, image.min())
    if baseline == "mean":
        return np.stack([np.full_like(channel, channel.mean()) for channel in image])
    if baseline == "uniform":
        noise = uniform(content_keys(view.batch.images), image.shape, seed=seed, purpose="baseline")[0].double().numpy()
        return image.min() + noise * (image.max() - image.min())
    return np.full_like(image, float(baseline))


def curve(
    view: View,
    direction: str,
    baseline: float | str,
    num_steps: int | str,
    ties: str,
    seed: int,
    order: str = "morf",
    grid: tuple[int, int] | None = None,
    pooling: str = "mean",
) -> list[float]:
    """Return the probability at ``num_steps + 1`` points, or at those of `radau`."""
    height, width = view.heat.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    if grid is None:
        groups = [[place] for place in places]
    else:
        groups = [[] for _ in range(grid[0] * grid[1])]
        for y, x in places:
            groups[(y * grid[0] // height) * grid[1] + x * grid[1] // width].append((y, x))
    sums = [sum(view.heat[place] for place in group) for group in groups]
    parts = [1 if pooling == "sum" else len(group) for group in groups]
    heat = np.array([np.float32(total / part) for total, part in zip(sums, parts, strict=True)])
    sequence = removal_order(heat, tie_breakers(view, len(groups), seed), ties, order)
    start, end = view.image, replaced(view, baseline, seed)
    if direction == "insertion":
        start, end = end, start
    values = []
    for num_changed in points(len(groups), num_steps, direction):
        frame = start.copy()
        for group in sequence[:num_changed]:
            for y, x in groups[group]:
                frame[:, y, x] = end[:, y, x]
        values.append(view.f(frame))
    return values


def area(values: list[float]) -> float:
    """Return RISE's normalised area."""
    return (sum(values) - values[0] / 2 - values[-1] / 2) / (len(values) - 1)


def points(count: int, num_steps: int | str, direction: str) -> list[int]:
    """Return how many of ``count`` pixels are changed at each point of a curve."""
    if num_steps != "radau":
        return [round(k * count / num_steps) for k in range(num_steps + 1)]
    nodes = radau(count)[0]
    return nodes if direction == "deletion" else [count - node for node in reversed(nodes)]


def radau(count: int) -> tuple[list[int], list[float]]:
    """Return nodes in whole pixels and weights of Gauss-Radau quadrature from 0 on, where all 11 nodes differ.

    Nodes are the zeros of the sum of Legendre's polynomials of degrees 10 and 11, weights the integrals of Lagrange's
    polynomials of the rounded nodes, in fractions.
    """
    zeros = np.polynomial.legendre.legroots([0] * 10 + [1, 1]).real
    nodes = [round(float(zero + 1) / 2 * count) for zero in sorted(zeros)]
    weights = []
    for node in nodes:
        lagrange = [Fraction(1)]  # coefficients, from the constant on
        for other in nodes:
            if other != node:
                shifted = [Fraction(0), *lagrange]
                below = [*(-Fraction(other, count) * factor for factor in lagrange), Fraction(0)]
                lagrange = [(a + b) / Fraction(node - other, count) for a, b in zip(shifted, below, strict=True)]
        weights.append(float(sum(factor / (power + 1) for power, factor in enumerate(lagrange))))
    return nodes, weights


def area_under(view: View, direction: str, baseline: float | str, num_steps: int | str, ties: str, seed: int) -> float:
    """Return the area under a curve of pixels."""
    values = curve(view, direction, baseline, num_steps, ties, seed)
    if num_steps != "radau":
        return area(values)
    weights = radau(view.heat.size)[1]
    return float(np.dot(values, weights if direction == "deletion" else weights[::-1]))


def insertion_minus_deletion(view: View, num_steps: int | str, ties: str, seed: int) -> float:
    insertion = area_under(view, "insertion", "blur", num_steps, ties, seed)
    return insertion - area_under(view, "deletion", 0.0, num_steps, ties, seed)


def noise_unit(view: View, absolute: bool) -> float:
    """Return what radii are shares of: the range of the image's own values, or 1."""
    return 1.0 if absolute else float(view.image.max() - view.image.min())


def changes(
    view: View, explain, radius: float, num_samples: int, relative: bool, seed: int, absolute: bool
) -> list[float]:
    """Return the change of the heatmap for each noisy copy."""
    radius = radius * noise_unit(view, absolute)
    norm = math.sqrt((view.heat**2).sum())
    if relative and norm == 0.0:
        return [math.nan] * num_samples
    found = []
    for sample in range(num_samples):
        noise = uniform(content_keys(view.batch.images), view.image.shape, seed=seed, sample=sample)[0]
        noisy = view.batch.images[0] + radius * (2.0 * noise - 1.0)
        distance = math.sqrt(((view.heat - explain(noisy.double().numpy(), view.target)) ** 2).sum())
        found.append(distance / norm if relative else distance)
    return found


def hottest(heat: np.ndarray) -> list[tuple[int, int]]:
    return [place for place in np.ndindex(heat.shape) if heat[place] == heat.max()]


def average_pool(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return torch's adaptive average pooling: cell i covers floor(i·H/h) .. ceil((i+1)·H/h)."""
    pooled = np.zeros(size)
    for i, j in np.ndindex(size):
        rows = slice(i * heat.shape[0] // size[0], -((-(i + 1) * heat.shape[0]) // size[0]))
        columns = slice(j * heat.shape[1] // size[1], -((-(j + 1) * heat.shape[1]) // size[1]))
        pooled[i, j] = heat[rows, columns].mean()
    return pooled
