"""The papers' formulas, written naively: python loops in float64 over one image's activations and gradients."""

import math

import torch


def _planes(activations, gradients):
    yield from zip(activations.double().tolist(), gradients.double().tolist(), strict=True)


def _places(plane):
    return [(i, j) for i in range(len(plane)) for j in range(len(plane[0]))]


def weighted_sum(activations, weights):
    """Return ``Σ_k w_k A_k``."""
    total = torch.zeros(activations.shape[1:], dtype=torch.float64)
    for plane, weight in zip(activations.double(), weights, strict=True):
        total += weight * plane
    return total


def grad_cam(activations, gradients):
    """Selvaraju et al. 2017, eq. 1 and 2, before the ReLU."""
    weights = []
    for _, g in _planes(activations, gradients):
        places = _places(g)
        weights.append(sum(g[i][j] for i, j in places) / len(places))
    return weighted_sum(activations, weights)


def grad_cam_plus_plus(activations, gradients, normalize_alpha=False):
    """Chattopadhay et al. 2018, eq. 10 and 19: a quotient of powers, Y the logit."""
    weights = []
    for a, g in _planes(activations, gradients):
        places = _places(g)
        total = max(0.0, sum(a[i][j] for i, j in places))
        alpha = {}
        for i, j in places:
            denominator = 2 * g[i][j] ** 2 + total * g[i][j] ** 3
            alpha[i, j] = g[i][j] ** 2 / denominator if g[i][j] > 0 else 0.0
        if normalize_alpha and sum(alpha.values()) > 0:
            mass = sum(alpha.values())
            alpha = {place: value / mass for place, value in alpha.items()}
        weights.append(sum(alpha[i, j] * max(0.0, g[i][j]) for i, j in places))
    return weighted_sum(activations, weights)


def grad_cam_plus_plus_of_the_exponential(activations, gradients, score):
    """The same with Y = exp(score), as the paper derives it: first, second and third derivative are exp(S) gⁿ."""
    weights = []
    for a, g in _planes(activations, gradients):
        total = math.fsum(a[i][j] for i, j in _places(g))
        weight = 0.0
        for i, j in _places(g):
            first, second, third = (math.exp(score) * g[i][j] ** power for power in (1, 2, 3))
            if second:
                weight += second / (2 * second + total * third) * max(0.0, first)
        weights.append(weight)
    return weighted_sum(activations, weights)


def xgrad_cam(activations, gradients):
    """Fu et al. 2020, eq. 8: the mean gradient, weighed by the activations; 0 where these cancel."""
    weights = []
    for a, g in _planes(activations, gradients):
        places = _places(g)
        total = sum(a[i][j] for i, j in places)
        size = sum(abs(a[i][j]) for i, j in places)
        product = sum(a[i][j] * g[i][j] for i, j in places)
        weights.append(product / total if abs(total) > 1e-3 * size else 0.0)
    return weighted_sum(activations, weights)


def hires_cam(activations, gradients):
    """Draelos & Carin 2020, eq. 5, before the ReLU."""
    found = torch.zeros(activations.shape[1:], dtype=torch.float64)
    for a, g in _planes(activations, gradients):
        for i, j in _places(g):
            found[i, j] += g[i][j] * a[i][j]
    return found


def layer_cam(activations, gradients):
    """Jiang et al. 2021, eq. 5 and 6, before the ReLU."""
    found = torch.zeros(activations.shape[1:], dtype=torch.float64)
    for a, g in _planes(activations, gradients):
        for i, j in _places(g):
            found[i, j] += max(0.0, g[i][j]) * a[i][j]
    return found
