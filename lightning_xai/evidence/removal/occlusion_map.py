"""The model's answer to each image with a patch of it hidden, everywhere on a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._checks import check_at_least
from lightning_xai._segments import check_grid
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.models.logits import log_odds
from lightning_xai.evidence.removal.changed_images import logits_of_changed_images

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class OcclusionMap(Evidence[Tensor]):
    """Logits (N, rows · columns, K) with a patch hidden that is centred on each cell of a grid.

    The patch is a square, or the cell itself with ``patch=None``. A pixel is hidden if its centre lies in the patch, so
    a patch is cut off at the image's border; no patch is smaller than a pixel. All classes are kept, so that cases of
    the same images share one map whatever their targets; `drops` and `log_odds_drops` read the target. Costs
    ``rows · columns`` evaluations per image, and the unchanged image for either of these.

    Args:
        grid: Rows and columns of cells.
        patch: Side of the patch as a share of the image's height; None for the cell.
        baseline: What hidden pixels become; see `baseline_images`.
        seed: Of a noise baseline.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images"})

    grid: tuple[int, int] = (14, 14)
    patch: float | None = 45 / 224
    baseline: AnyBaseline = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "grid", check_grid(self.grid))
        if self.patch is not None:
            check_at_least(self.patch, 0.0, "patch", strict=True)
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return one per cell, and the unchanged image."""
        return math.prod(self.grid) + 1

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, rows · columns, K)."""
        images = case.images
        replaced = baseline_images(images, self.baseline, case.keys, seed=self.seed).expand_as(images)
        side = None if self.patch is None else self.patch * images.shape[2]
        down = _spans(images.shape[2], self.grid[0], side, images.device)
        across = _spans(images.shape[3], self.grid[1], side, images.device)

        def build(image_index: Tensor, version_index: Tensor) -> Tensor:
            hidden = down[version_index // self.grid[1]][:, :, None] & across[version_index % self.grid[1]][:, None, :]
            return torch.where(hidden[:, None], replaced[image_index], images[image_index])

        return logits_of_changed_images(case, math.prod(self.grid), build)

    def drops(self, case: Case) -> Tensor:
        """Return how far each patch lowers the target's probability, f(x) − f(occluded), (N, rows, columns)."""
        return self._drops(case, lambda logits, target: case.classifier.select(logits, target, "probability"))

    def log_odds_drops(self, case: Case) -> Tensor:
        """Return how far each patch lowers the target's log-odds (its own logit, if not multi-class), likewise."""
        return self._drops(case, lambda logits, target: log_odds(case.classifier, logits, target))

    def _drops(self, case: Case, read: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        occluded: Tensor = case[self]
        scores = read(occluded.flatten(0, 1), case.target.repeat_interleave(occluded.shape[1]))
        return (read(case.logits, case.target)[:, None] - scores.view(len(case), -1)).view(len(case), *self.grid)


def _spans(length: int, num_cells: int, side: float | None, device: torch.device) -> Tensor:
    """Return which pixels of a line the patch of each cell covers, boolean (num_cells, length)."""
    side = max(length / num_cells if side is None else side, 1.0)
    pixel = torch.arange(length, dtype=torch.float64, device=device) + 0.5
    centre = (torch.arange(num_cells, dtype=torch.float64, device=device)[:, None] + 0.5) * length / num_cells
    return (pixel >= centre - side / 2) & (pixel < centre + side / 2)
