"""The model's answer to each image with a named region of it hidden, and with as much of it hidden elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._checks import check_choice
from lightning_xai._randomness import uniform
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.removal.changed_images import logits_of_changed_images

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class HiddenRegion(Evidence[Tensor]):
    """Logits (N, 2, K) with a region hidden, and with its control region of equal size hidden.

    The control is the region mirrored from left to right; where that touches any named region, the pixels outside of
    all of them that are nearest to a random one. NaN where an image lacks the region, or has no room for a control.
    Costs two evaluations per image, for all classes and explainers.

    Args:
        region: Its name.
        baseline: What hidden pixels become; see `baseline_images`.
        seed: Of the place of the control and of a noise baseline; the place belongs to the image and the name.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "regions"})

    region: str = "object"
    baseline: AnyBaseline = "blur"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 2."""
        return 2

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, 2, K).

        Raises:
            ValueError: If the case has no region of this name.
        """
        images = case.images
        replaced = baseline_images(images, self.baseline, case.keys, seed=self.seed).expand_as(images)
        hidden = torch.stack(self.areas(case), 1)[:, :, None]

        def build(image_index: Tensor, version_index: Tensor) -> Tensor:
            area = hidden[image_index, version_index]
            return torch.where(area, replaced[image_index], images[image_index])

        logits = logits_of_changed_images(case, 2, build)  # of all images, so that all processes run alike
        whole = hidden.flatten(2).any(2).all(1)
        return torch.where(whole[:, None, None], logits, torch.nan)

    def areas(self, case: Case) -> tuple[Tensor, Tensor]:
        """Return region and control, boolean (N, H, W) each; all False where there is none."""
        check_choice(self.region, list(case.regions), "region")
        region, free = case.regions[self.region], ~torch.stack(list(case.regions.values())).any(0)
        mirrored = region.flip(2)
        is_free = (free | ~mirrored).flatten(1).all(1)[:, None, None]
        draws = uniform(case.keys, tuple(free.shape[1:]), seed=self.seed, purpose=f"control of {self.region}")
        return region, torch.where(is_free, mirrored, _near_a_random_pixel(free, region.flatten(1).sum(1), draws))


def _near_a_random_pixel(free: Tensor, size: Tensor, draws: Tensor) -> Tensor:
    """Return for each image the ``size`` free pixels that are nearest to the one with the greatest draw.

    Args:
        free: Which pixels may be taken, boolean (N, H, W).
        size: Number of pixels, int64 (N,); none are taken where fewer are free.
        draws: (N, H, W) in [0, 1).
    """
    _, height, width = free.shape
    centre = draws.masked_fill(~free, -1.0).flatten(1).argmax(1)[:, None, None]
    down = torch.arange(height, device=free.device)[:, None] - centre // width
    across = torch.arange(width, device=free.device)[None, :] - centre % width
    distance = (down.square() + across.square()).masked_fill(~free, height**2 + width**2).flatten(1)
    order = distance.argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=free.device).expand_as(order))
    fits = free.flatten(1).sum(1) >= size
    return ((rank < size[:, None]) & fits[:, None]).view_as(free)
