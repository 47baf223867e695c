"""Scores of images as decisions see them, from plain lists, and series of which the correlation is known."""

import math

import numpy as np
import torch

from lightning_xai.metrics import InsertionDeletion, MaxSensitivity
from lightning_xai.probing import ImageScores
from lightning_xai.probing.decisions.paired import Explanation


def scores(rows, keys=None, target=None, control=None, metric=None):
    rows = torch.as_tensor(rows, dtype=torch.float32)
    keys = range(len(rows)) if keys is None else keys
    target = [0] * len(rows) if target is None else target
    control = None if control is None else torch.as_tensor(control, dtype=torch.float32)
    return ImageScores(torch.tensor(list(keys)), torch.tensor(target), rows, metric or InsertionDeletion(), control)


def explanations(*rows, **settings):
    return [Explanation(epoch, scores(one, **settings)) for epoch, one in enumerate(rows)]


def lower_is_better():
    return MaxSensitivity()


def autoregressive(rng, count, persistence, correlation):
    """Two stationary AR(1) series of equal persistence whose values have that correlation."""
    noise = rng.standard_normal((2, count))
    noise[1] = correlation * noise[0] + math.sqrt(1 - correlation**2) * noise[1]
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0] / math.sqrt(1 - persistence**2)
    for place in range(1, count):
        series[:, place] = persistence * series[:, place - 1] + noise[:, place]
    return series
