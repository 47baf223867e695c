"""Small parts of comparisons: images and masks by hand, explainers that are no methods, a model that is counted."""

import time

import torch
from torch import nn

from lightning_xai import Explainer, ExplanationMetric, Sample

IMAGES = torch.tensor(
    [[[4.0, 1.0], [0.0, 2.0]], [[1.0, 3.0], [0.0, 0.0]], [[5.0, 0.0], [0.0, 0.0]], [[0.5, 0.0], [2.0, 6.0]]]
)[:, None]
FORWARDS = []  # a global: what a model keeps in itself is put back after every explanation


class AsIs(Explainer):
    """The first channel of the image."""

    evaluations = 0

    def explain(self, classifier, images, target):
        return images[:, 0]


class Mirrored(Explainer):
    """The same, left and right exchanged."""

    evaluations = 0

    def explain(self, classifier, images, target):
        return images[:, 0].flip(-1)


class Slow(AsIs):
    """Takes its time, and says when it begins."""

    seconds = 0.0

    def explain(self, classifier, images, target):
        if self.seconds:
            print("explaining", flush=True)
        time.sleep(self.seconds)
        return super().explain(classifier, images, target)


class Broken(Explainer):
    """Fails on images whose first pixel is hot."""

    def explain(self, classifier, images, target):
        raise RuntimeError("no such layer")


class TopLeft(ExplanationMetric):
    """The heat of the first pixel."""

    higher_is_better = False
    range = (0.0, float("inf"))

    def score(self, case):
        return case.heatmaps[:, 0, 0]


class Counted(nn.Module):
    """Pixels are logits; every image that goes through is noted."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        FORWARDS.append(len(x))
        return x.flatten(1)[:, :4] * self.scale


def marked_images():
    """Four images whose object is the first pixel."""
    masks = torch.zeros(4, 2, 2, dtype=torch.bool)
    masks[:, 0, 0] = True
    return Sample(IMAGES, labels=torch.tensor([0, 1, 2, 3]), masks=masks, ids=["a", "b", "c", "d"])


def evaluations_of(work):
    """Return what ``work`` returns, and how many images it sent through `Counted`."""
    FORWARDS.clear()
    result = work()
    return result, sum(FORWARDS)
