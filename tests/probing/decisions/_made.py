"""Scores of images as decisions see them, from plain lists."""

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
