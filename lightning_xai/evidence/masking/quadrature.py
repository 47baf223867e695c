"""Where a curve is evaluated so that few points tell its area: Gauss–Radau quadrature on whole pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_NODES = 10
"""Evaluations of a curve beside the unchanged image, whose score is known."""


@dataclass(frozen=True)
class Quadrature:
    """Points of a curve, from the unchanged image on, and what each counts for in its area.

    Attributes:
        num_changed: How many pixels (cells) are changed at each, ascending from 0.
        weights: Of the scores there; they sum to 1.
    """

    num_changed: tuple[int, ...]
    weights: tuple[float, ...]


@cache
def radau(num_segments: int) -> Quadrature:
    """Return the Gauss–Radau rule of the unchanged image and ``NUM_NODES`` more points, rounded to whole pixels.

    With nodes where the rule has them it would be exact for polynomials up to degree 20. Whole pixels are a little
    beside them, so the weights are computed anew for the rounded nodes, which is exact up to degree 10 and all but
    exact up to 20. Where rounding lets nodes coincide or a weight fall to 0, which it does below 50 pixels only, the
    curve is taken to be straight between the nodes: few pixels have few nodes between which it could be anything else.

    Args:
        num_segments: Number of pixels (cells), at least 1.

    Example:
        >>> radau(1000).num_changed
        (0, 30, 98, 199, 324, 463, 605, 739, 853, 938, 988)
        >>> radau(2)
        Quadrature(num_changed=(0, 1, 2), weights=(0.25, 0.5, 0.25))
    """
    num_changed = np.unique([0, *(np.rint(node * num_segments) for node in _free_nodes())])
    shares = num_changed / num_segments
    weights = _interpolating(shares)
    if len(shares) <= NUM_NODES or weights.min() <= 0:
        weights = _straight(shares)
    return Quadrature(tuple(map(int, num_changed)), tuple(map(float, weights)))


@cache
def every(num_segments: int) -> Quadrature:
    """Return the trapezoid rule through every number of changed segments.

    Example:
        >>> every(2)
        Quadrature(num_changed=(0, 1, 2), weights=(0.25, 0.5, 0.25))
    """
    num_changed = tuple(range(num_segments + 1))
    return Quadrature(num_changed, tuple(map(float, _straight(np.array(num_changed) / num_segments))))


def _free_nodes() -> NDArray[Any]:
    """Return the nodes in (0, 1) of the rule whose other node is 0: the zeros of the Jacobi polynomial of 1 + x."""
    from scipy.special import roots_jacobi

    roots: NDArray[Any] = roots_jacobi(NUM_NODES, 0.0, 1.0)[0]
    return (roots + 1.0) / 2.0


def _interpolating(shares: NDArray[Any]) -> NDArray[Any]:
    """Return the weights that are exact for every polynomial through all points."""
    polynomials = np.polynomial.legendre.legvander(2.0 * shares - 1.0, len(shares) - 1)
    integrals = np.zeros(len(shares))
    integrals[0] = 1.0  # of Legendre's polynomials over their whole range, all others are 0
    weights: NDArray[Any] = np.linalg.solve(polynomials.T, integrals)
    return weights


def _straight(shares: NDArray[Any]) -> NDArray[Any]:
    """Return the weights of straight lines between the points, level before the first and after the last one."""
    middles = (shares[1:] + shares[:-1]) / 2.0
    return np.diff([0.0, *middles, 1.0])
