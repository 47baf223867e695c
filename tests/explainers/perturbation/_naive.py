"""The papers' definitions, written naively: python loops in float64 over one image and a function of it."""

import itertools
import math

import numpy as np


def occlusion(f, image, window, stride, baseline):
    """The mean fall of f over the windows that hide a pixel; ``image`` (C, H, W) of numpy, f takes such."""
    _, height, width = image.shape
    total, times = np.zeros((height, width)), np.zeros((height, width))
    intact = f(image)
    for top in _starts(height, window, stride):
        for left in _starts(width, window, stride):
            hidden = image.copy()
            hidden[:, top : top + window, left : left + window] = baseline
            total[top : top + window, left : left + window] += intact - f(hidden)
            times[top : top + window, left : left + window] += 1
    return total / times


def _starts(length, window, stride):
    starts = [0]
    while starts[-1] + window < length:
        starts.append(starts[-1] + stride)
    return starts


def rise(f, image, masks, probability):
    """Petsiuk et al. 2018, eq. 6."""
    total = np.zeros(image.shape[1:])
    for mask in masks:
        total += f(image * mask) * mask
    return total / (len(masks) * probability)


def rise_mask(cells, size, shift):
    """Petsiuk et al. 2018, section 3.2: upsample bilinearly to one cell more than the image, cut at ``shift``."""
    grid = len(cells)
    height, width = (math.ceil(length / grid) for length in size)
    mask = np.empty(size)
    for y, x in itertools.product(range(size[0]), range(size[1])):
        rows = _between(y + shift[0], (grid + 1) * height, grid)
        columns = _between(x + shift[1], (grid + 1) * width, grid)
        mask[y, x] = sum(a * b * cells[i][j] for i, a in rows for j, b in columns)
    return mask


def _between(pixel, length, cells):
    """Return the two nearest cells and their shares; pixels and cells are known at their centres."""
    place = min(max((pixel + 0.5) * cells / length - 0.5, 0.0), cells - 1.0)
    first = min(int(place), cells - 1)
    return [(first, 1 - (place - first)), (min(first + 1, cells - 1), place - first)]


def seen_through(image, labels, coalition, baseline):
    """The image with every segment hidden that is not part of the coalition."""
    return np.where(np.asarray(coalition, dtype=bool)[labels], image, baseline)


def lime(scores, coalitions, kernel_width, ridge):
    """Ribeiro et al. 2016, eq. 1 with squared loss: normal equations of the weighed, regularised problem."""
    z = np.asarray(coalitions, dtype=np.float64)
    weights = []
    for row in z:
        length = math.sqrt(row @ row)
        cosine = row.sum() / (length * math.sqrt(len(row))) if length else 0.0
        weights.append(math.exp(-((1 - cosine) ** 2) / (2 * kernel_width**2)))
    design = np.hstack([np.ones((len(z), 1)), z])
    penalty = ridge * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    weighed = design * np.array(weights)[:, None]
    return np.linalg.solve(weighed.T @ design + penalty, weighed.T @ np.asarray(scores))[1:]


def shapley(value, players):
    """The mean over all orders of what a player adds to those before it."""
    total = np.zeros(players)
    for order in itertools.permutations(range(players)):
        coalition = [0] * players
        for player in order:
            before = value(tuple(coalition))
            coalition[player] = 1
            total[player] += value(tuple(coalition)) - before
    return total / math.factorial(players)


def kernel_shap(scores, coalitions):
    """Lundberg & Lee 2017, theorem 2, for drawn coalitions: least squares with both constraints by elimination."""
    z, y = np.asarray(coalitions, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    nothing, everything = y[z.sum(1) == 0][0], y[z.sum(1) == z.shape[1]][0]
    inner = (z.sum(1) > 0) & (z.sum(1) < z.shape[1])
    z, y = z[inner], y[inner] - nothing
    solved, *_ = np.linalg.lstsq(z[:, :-1] - z[:, -1:], y - z[:, -1] * (everything - nothing), rcond=None)
    return np.append(solved, everything - nothing - solved.sum())
