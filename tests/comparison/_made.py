"""Small parts of comparisons: images and masks by hand, explainers that are no methods, a model that is counted."""

import os
import time
from pathlib import Path

import torch
from torch import nn

from lightning_xai import Explainer, ExplanationMetric, Sample

IMAGES = torch.tensor(
    [[[4.0, 1.0], [0.0, 2.0]], [[1.0, 3.0], [0.0, 0.0]], [[5.0, 0.0], [0.0, 0.0]], [[0.5, 0.0], [2.0, 6.0]]]
)[:, None]
FORWARDS = []  # globals: what a model or an explainer keeps in itself is put back after every explanation
EXPLAINED = []


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
    """Says when it begins, and waits until there is a file of this name."""

    until = None
    begins = staticmethod(lambda: None)

    def explain(self, classifier, images, target):
        EXPLAINED.append(len(images))
        self.begins()
        if self.until:
            print("explaining", flush=True)
            while not Path(self.until).exists():
                time.sleep(0.02)
        return super().explain(classifier, images, target)


class Meeting(AsIs):
    """Waits in each process until a second one explains too."""

    def explain(self, classifier, images, target):
        folder = Path(os.environ["MEETING"])
        (folder / f"{os.getpid()}.here").touch()
        while len(list(folder.glob("*.here"))) < 2:
            time.sleep(0.02)
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


def many_images():
    """Images of three sizes, one among another, in batches of 32, 32 and 6, of 3, and of 2."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 2)] * 70
    for place in (5, 20, 71):
        sizes.insert(place, (2, 3))
    sizes[40:40] = [(3, 3)] * 2
    images = [torch.rand(1, *size, generator=generator) for size in sizes]
    masks = [torch.zeros(size, dtype=torch.bool).index_fill(1, torch.tensor([0]), True) for size in sizes]
    return [
        {"image": image, "label": place % 4, "mask": mask, "id": f"image {place}"}
        for place, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]


def evaluations_of(work):
    """Return what ``work`` returns, and how many images it sent through `Counted`."""
    FORWARDS.clear()
    result = work()
    return result, sum(FORWARDS)
