"""How many points of a curve each rule needs for the error of a mean over a probe, read from the finest curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy.special import roots_jacobi
from torch import Tensor

from benchmarks.combinations import midpoints, trapezoid
from benchmarks.probe_error import PROBE, of_a_mean
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.evidence.masking.quadrature import NUM_NODES, _interpolating

ERRORS = (0.01, 0.003)
_MOST = 56
Rule = Callable[[int], tuple[Tensor, Tensor]]


def points_for_a_mean(curves: Mapping[str, Tensor], num_pixels: int) -> Iterator[dict[str, object]]:
    """Yield a row for each error and rule: the fewest points from which on the means of both areas keep it.

    Fewer than these may keep it by luck, where the steps of curves happen to lie well.

    Args:
        curves: Insertion and deletion of each image at the ends of equal parts, (N, P).
        num_pixels: Of an image: Quantus wants steps that divide it.
    """
    every = range(2, _MOST + 1)
    rules: dict[str, tuple[Rule, Sequence[int]]] = {
        "ours, num_steps='radau'": (radau, (NUM_NODES,)),
        "Gauss-Radau of any number of nodes (not offered)": (radau, range(2, 25)),
        "equal parts: torchcam, and ours with a whole number": (trapezoid, every),
        "equal parts that divide the pixels: Quantus": (trapezoid, [n for n in every if num_pixels % n == 0]),
        "middles of equal parts: pytorch-grad-cam": (midpoints, every),
    }
    for error in ERRORS:
        for name, (rule, steps) in rules.items():
            found = {n: mean_error(curves, *rule(n)) for n in steps}
            fewest = _from_which_on({n: one <= error for n, one in found.items()})
            shown = fewest or min(found, key=lambda n: found[n])
            yield {
                "task": f"mean over {PROBE} images within {error}",
                "what": name,
                "steps": str(shown),
                "error": found[shown],
                "evaluations_per_image": float(2 * shown),
                "met": fewest is not None,
            }


def _from_which_on(kept: Mapping[int, bool]) -> int | None:
    """Return the first number from which on all are true, None if the last one is not.

    Example:
        >>> _from_which_on({2: False, 3: True, 4: False, 5: True, 6: True})
        5
    """
    first = None
    for number, true in reversed(kept.items()):
        if not true:
            break
        first = number
    return first


def radau(nodes: int) -> tuple[Tensor, Tensor]:
    """Return the shares changed, 0 first, of a Gauss-Radau rule, and weights."""
    shares = np.array([0.0, *(roots_jacobi(nodes, 0.0, 1.0)[0] + 1.0) / 2.0])
    return torch.tensor(shares), torch.tensor(_interpolating(shares))


def mean_error(curves: Mapping[str, Tensor], shares: Tensor, weights: Tensor) -> float:
    """Return the root mean square error of the mean over a probe, of the area for which it is greater.

    Like `benchmarks.curve_error`, by `of_a_mean`.
    """
    wrong = [_wrong(curve, shares, weights) for curve in _from_intact(curves)]
    return float(torch.stack([of_a_mean(one) for one in wrong]).max())


def expected_error(curves: Mapping[str, Tensor], shares: Tensor, weights: Tensor) -> float:
    """Return the root mean square error of single areas, read between the points of the finest curves."""
    wrong = torch.stack([_wrong(curve, shares, weights) for curve in _from_intact(curves)])
    return float(wrong.square().mean().sqrt())


def _from_intact(curves: Mapping[str, Tensor]) -> list[Tensor]:
    """Return both curves from the unchanged image on, where rules begin."""
    return [curves["insertion"].flip(1), curves["deletion"]]


def _wrong(curve: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    parts = curve.shape[1] - 1
    place = shares.to(curve) * parts
    left = place.floor().long().clamp(max=parts - 1)
    points = torch.lerp(curve[:, left], curve[:, left + 1], (place - left).expand(len(curve), -1))
    return (points * weights.to(curve)).sum(1) - area(curve)
