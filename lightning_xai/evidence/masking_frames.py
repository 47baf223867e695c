"""The changed images of a masking curve, built a chunk at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.evidence.baseline import baseline_images

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case
    from lightning_xai.evidence.masking_curve import MaskingCurve


class MaskingFrames:
    """Every image of a case at every step of a curve; built when its score is asked for.

    Args:
        curve: Its settings.
        case: Images and heatmaps.
        num_steps: Equal parts of the curve.

    Attributes:
        counts: How many pixels (regions) are changed at each step, int32 (num_steps + 1,).
        shares: The same as a share of all, float32 in [0, 1].
    """

    def __init__(self, curve: MaskingCurve, case: Case, num_steps: int) -> None:
        self._case = case
        images = case.images.detach()
        replaced = baseline_images(images, curve.baseline, case.keys, seed=curve.seed).expand_as(images)
        self._ends = (images, replaced) if curve.direction == "deletion" else (replaced, images)
        self._ranks: Tensor = case[curve.ranking]
        units = math.prod(curve.grid or images.shape[2:])
        steps = torch.arange(num_steps + 1, dtype=torch.float64, device=images.device)
        counts = (steps * units / num_steps).round()
        self.shares = (counts / units).float()
        self.counts = counts.int()

    def scores(self, image: Tensor, step: Tensor) -> Tensor:
        """Return the probability of the target class, float32 (P,), of each of P pairs of an image and a step.

        Args:
            image: Index of the image, int64 (P,) on the CPU, ascending.
            step: int64 (P,) on the CPU, in [0, num_steps].
        """

        def chunk_of(chunk: slice) -> Tensor:
            return self.build(image[chunk], step[chunk])

        def read(logits: Tensor, chunk: slice) -> Tensor:  # that the model has the target's class was checked once
            target = self._case.target[image[chunk], None]
            return self._case.classifier.probabilities(logits).gather(1, target)[:, 0]

        return self._case.classifier.evaluate(len(image), chunk_of, read)

    def build(self, image: Tensor, step: Tensor) -> Tensor:
        """Return the changed images (P, C, H, W) of P pairs; see `scores`."""
        first, last = self._ends
        frames = first.new_empty(len(image), *first.shape[1:])
        for index, place in _runs(image):
            changed = (self._ranks[index] < self.counts[step[place], None, None, None]).to(frames.dtype)
            torch.lerp(first[index], last[index], changed, out=frames[place])  # 0 or 1: exact, faster than `where`
        return frames


def _runs(image: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield each image of an ascending list, and its places there."""
    start = 0
    for index, places in groupby(image.tolist()):
        stop = start + len(list(places))
        yield index, slice(start, stop)
        start = stop
