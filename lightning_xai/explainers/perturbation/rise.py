"""RISE."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_at_least, check_choice, check_count
from lightning_xai.explainers.perturbation.cell_sampling import CellSampling, independent_cells, orthogonal_cells
from lightning_xai.explainers.perturbation.perturbation_explainer import (
    PerturbationExplainer,
    ReadScores,
    probability_of,
)
from lightning_xai.model.classifier import Classifier


class RISE(PerturbationExplainer):
    """Average random masks, each weighed by the class probability of the image seen through it.

    ``Σ_i f(x ⊙ M_i) M_i / (N p)`` with f the probability: about the expected probability given that the pixel is seen,
    in [0, 1/p]; not signed, and nowhere near 0 where the class is sure anyway. Masks are the paper's: ``grid × grid``
    cells, each kept with probability p, bilinearly upsampled to cells of ``⌈H / grid⌉ × ⌈W / grid⌉`` pixels, one cell
    more than the image in each direction, and cut at a random place within one cell. They are drawn from the seed
    alone, the same for every image. Costs ``num_masks`` evaluations per image.

    Masks balance each other (`orthogonal_cells`): for any number of them the expected map is the paper's, but with
    p = ½ what single cells and pairs of cells add to f leaves no noise. 512 of them came as close to the limit as 1,500
    to 6,100 independent ones (benchmarks/README.md). Take whole blocks: 128 masks for 7 × 7 cells (`block_size`). The
    paper's protocol is ``sampling="independent"``, with 4,000 to 8,000 masks.

    Source: Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
    https://arxiv.org/abs/1806.07421, eq. 6. The paper rounds the size of cells down, its authors' code up, as here.

    Args:
        num_masks: N.
        grid: Cells per side.
        probability: p, of keeping a cell.
        seed: Of the masks, and of a noise baseline.
        baseline: What is masked becomes, ``x ⊙ M + baseline ⊙ (1 − M)``; see `baseline_images`.
        sampling: How cells are drawn: ``"orthogonal"``, or ``"independent"`` as in the paper.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> class Left(torch.nn.Module):
        ...     def forward(self, x):
        ...         return 9 * x[:, 0, :, :4].mean((1, 2)) - 4  # one logit
        >>> heatmap = RISE(num_masks=500, grid=2)(Left(), torch.ones(1, 1, 8, 8), target=1)
        >>> bool(heatmap[..., :4].min() > heatmap[..., 5:].max())
        True
    """

    def __init__(
        self,
        num_masks: int = 1024,
        grid: int = 7,
        probability: float = 0.5,
        seed: int = 0,
        baseline: Baseline = 0.0,
        sampling: CellSampling = "orthogonal",
    ) -> None:
        check_count(num_masks, "num_masks")
        check_count(grid, "grid")
        check_at_least(probability, 0.0, "probability", strict=True)
        if probability > 1:
            raise ValueError(f"Expected `probability` to be at most 1, but got {probability}.")
        check_count(seed, "seed", least=-math.inf)
        check_choice(sampling, ("orthogonal", "independent"), "sampling")
        self.num_masks = num_masks
        self.grid = grid
        self.probability = probability
        self.seed = seed
        self.baseline = checked_baseline(baseline)
        self.sampling: CellSampling = sampling

    @property
    def evaluations(self) -> int:
        """One per mask."""
        return self.num_masks

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return maps (n, H, W)."""
        average = _Average(self, images, probability_of(classifier, target))
        self.version_scores(classifier, images, self.num_masks, average.build, average.read)
        return average.total / (self.num_masks * self.probability)

    def masks(self, index: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the masks of some numbers, float32 (m, H, W) in [0, 1].

        Args:
            index: int64 (m,), from 0.
            size: (H, W) of the images.
        """
        draw = orthogonal_cells if self.sampling == "orthogonal" else independent_cells
        kept, places = draw(index, self.grid, self.probability, seed=self.seed)
        return masks_of_cells(kept, places, size)


class _Average:
    """The weighed sum of the masks (n, H, W), and the masks of one chunk, which are drawn once for all images."""

    def __init__(self, rise: RISE, images: Tensor, probability: ReadScores) -> None:
        self.total = torch.zeros_like(images[:, 0], dtype=torch.float32)
        self._rise = rise
        self._images = images
        self._hidden = baseline_images(images, rise.baseline, seed=rise.seed).expand_as(images)
        self._probability = probability
        self._masks = self.total

    def build(self, image: Tensor, version: Tensor) -> Tensor:
        """Return the images seen through masks."""
        index = torch.arange(int(version[0]), int(version[-1]) + 1, device=version.device)
        self._masks = self._rise.masks(index, (self.total.shape[1], self.total.shape[2]))
        masks = self._masks[version - version[0], None]
        return self._images[image] * masks + self._hidden[image] * (1.0 - masks)

    def read(self, image: Tensor, version: Tensor, logits: Tensor) -> Tensor:
        """Add the masks of the chunk, which was built last, and return the probabilities."""
        scores = self._probability(image, version, logits)
        weights = scores.new_zeros((len(self.total), len(self._masks)))
        weights[image, version - version[0]] = scores
        self.total += (weights @ self._masks.flatten(1)).view_as(self.total)
        return scores


def masks_of_cells(kept: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks, float32 (m, H, W), of the cells that are kept and the places where they are cut.

    Args:
        kept: Boolean (m, grid²).
        places: Rows and columns in [0, 1), shares of a cell, (m, 2).
        size: (H, W).
    """
    grid = math.isqrt(kept.shape[1])
    rows, columns = (_cut(length, grid, places[:, axis]) for axis, length in enumerate(size))
    return rows @ kept.float().view(-1, grid, grid) @ columns.mT


def _cut(length: int, grid: int, place: Tensor) -> Tensor:
    """Return what takes ``grid`` cells to a line of pixels, (m, length, grid), cut at a ``place`` (m,) in [0, 1)."""
    cell = -(-length // grid)
    corners = torch.eye(grid, device=place.device)[None]
    upsampled = F.interpolate(corners, size=(grid + 1) * cell, mode="linear", align_corners=False)[0].T
    pixel = torch.arange(length, device=place.device)
    return upsampled[(place * cell).long()[:, None] + pixel]
