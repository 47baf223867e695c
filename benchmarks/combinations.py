"""Grad-CAM with insertion, deletion and max-sensitivity as users of other packages combine them.

All curves lie between the images and images of zeros and go through the pixels in one order: equally hot ones by their
index. What a package repeats and its user can leave out is left out (the unchanged image of every curve).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.array_peers import pytorch_grad_cam, pytorch_grad_cam_areas, quantus_areas, quantus_sensitivity
from benchmarks.explained import Cam, Explained, captum_cam

RADIUS, SAMPLES = 0.02, 10
CHUNK = 32
_MOST_STEPS = 224


@dataclass(frozen=True)
class Combination:
    """A way to the three numbers.

    Attributes:
        name: The packages.
        areas: From images and steps to the mean insertion and deletion area, (2,); makes the heatmaps itself.
        sensitivity: From images to their max-sensitivity; makes all heatmaps itself.
        rule: From steps to the share of the pixels changed at each point of a curve, and what the point counts for.
        steps: What the package takes.
    """

    name: str
    areas: Callable[[Explained, int], Tensor]
    sensitivity: Callable[[Explained], object]
    rule: Callable[[int], tuple[Tensor, Tensor]]
    steps: Sequence[int]


def combinations(num_pixels: int) -> list[Combination]:
    """Return the combinations of captum, torchcam, Quantus and pytorch-grad-cam that give the numbers.

    Args:
        num_pixels: Of an image.

    Raises:
        ModuleNotFoundError: If one of these is not installed.
    """
    for package in ("captum", "torchcam", "quantus", "pytorch_grad_cam"):
        __import__(package)
    captums = partial(captum_sensitivity, cam=captum_cam)
    any_number = range(2, _MOST_STEPS + 1)
    # Quantus wants as many values of the three channels in every step, and a number that divides the pixels
    of_quantus = [3 * parts for parts in range(1, _MOST_STEPS // 3) if num_pixels % parts == 0]
    return [
        Combination("torchcam, captum", torchcam_areas, captums, trapezoid, any_number),
        Combination("captum, torchcam, captum", torchcam_areas_of_captum, captums, trapezoid, any_number),
        Combination("captum, Quantus, captum", quantus_areas, captums, trapezoid, of_quantus),
        Combination("captum, Quantus, Quantus", quantus_areas, quantus, trapezoid, of_quantus),
        Combination(
            "pytorch-grad-cam, captum",
            pytorch_grad_cam_areas,
            partial(captum_sensitivity, cam=pytorch_grad_cam),
            midpoints,
            any_number,
        ),
    ]


def trapezoid(steps: int) -> tuple[Tensor, Tensor]:
    """Return the ends of equal parts and their weights."""
    weights = torch.full((steps + 1,), 1 / steps, dtype=torch.float64)
    weights[[0, -1]] /= 2
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64), weights


def midpoints(steps: int) -> tuple[Tensor, Tensor]:
    """Return the middles of equal parts and their weights."""
    return (torch.arange(steps, dtype=torch.float64) + 0.5) / steps, torch.full((steps,), 1 / steps).double()


def quantus(explained: Explained) -> object:
    return quantus_sensitivity(explained, RADIUS, SAMPLES)


def captum_sensitivity(explained: Explained, cam: Cam) -> Tensor:
    """Return what captum says of any package's maps."""
    from captum.metrics import sensitivity_max

    def maps(images: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        return (cam(explained.of(images[0] if isinstance(images, tuple) else images)),)

    most = max(CHUNK, len(explained))
    return sensitivity_max(
        maps, explained.images, perturb_radius=RADIUS, n_perturb_samples=SAMPLES, max_examples_per_batch=most
    )


def torchcam_areas(explained: Explained, steps: int) -> Tensor:
    """Return both areas of torchcam's own maps, whose forward pass is the curves' unchanged image as well."""
    from torchcam.methods import GradCAM

    with GradCAM(explained.model, explained.layer) as extractor:
        of_logits = _OfLogits(extractor)
        return _torchcam_areas(of_logits, of_logits.probabilities, explained, steps)


def torchcam_areas_of_captum(explained: Explained, steps: int) -> Tensor:
    """Return both areas of captum's maps."""
    extractor = _Ready(explained.model, captum_cam(explained))
    with torch.no_grad():
        return _torchcam_areas(extractor, partial(torch.softmax, dim=-1), explained, steps)


class _OfLogits:
    """Lets an extractor of torchcam explain the logits of which its metric follows the probabilities."""

    def __init__(self, extractor: Any) -> None:
        self.model, self.fuse_cams = extractor.model, extractor.fuse_cams
        self._extractor, self._hooks_off = extractor, extractor._hooks_off

    def probabilities(self, logits: Tensor) -> Tensor:
        self._logits = logits
        return logits.softmax(-1)

    def __call__(self, class_idx: list[int], _: Tensor) -> list[Tensor]:
        return self._extractor(class_idx, self._logits)


@dataclass
class _Ready:
    """Stands in for an extractor of torchcam and returns maps that are there already."""

    model: nn.Module
    maps: Tensor

    def __call__(self, *_: object) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> AbstractContextManager[None]:
        return nullcontext()


def _torchcam_areas(
    extractor: object, probabilities: Callable[[Tensor], Tensor], explained: Explained, steps: int
) -> Tensor:
    from torchcam.metrics import DeletionInsertionMetric

    metric = DeletionInsertionMetric(extractor, probabilities, steps=steps, batch_size=CHUNK)
    metric.update(explained.images, explained.target.tolist())
    found = metric.summary()
    return torch.tensor([found["insertion_auc"], found["deletion_auc"]])
