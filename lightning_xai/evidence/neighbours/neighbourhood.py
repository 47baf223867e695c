"""What happens to the heatmap when the image is shaken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least, check_choice, check_count
from lightning_xai._randomness import normal, uniform
from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class Neighbours:
    """Distances between an image and its J noisy copies, all float32.

    Attributes:
        heatmap_distance: ‖m(x) − m(x + ε_j)‖_F, (N, J); NaN where there is no noise, as in a constant image whose own
            range that is a share of.
        heatmap_norm: ‖m(x)‖_F, (N,).
        image_distance: ‖ε_j‖₂, (N, J), in the units of the images.
    """

    heatmap_distance: Tensor
    heatmap_norm: Tensor
    image_distance: Tensor

    def change(self, *, relative: bool) -> Tensor:
        """Return each copy's change, (N, J); if ``relative`` over the clean heatmap's norm, NaN where that is 0."""
        if not relative:
            return self.heatmap_distance
        norm = self.heatmap_norm[:, None]
        return torch.where(norm > 0, self.heatmap_distance / norm, torch.nan)


@dataclass(frozen=True)
class Neighbourhood(Evidence[Neighbours]):
    """`num_samples` noisy copies of each image, explained for the class of the clean one.

    Costs ``num_samples`` explanations per image. Noise belongs to the image and the sample: it is the same in any
    batch, chunk, rank and epoch, and values are not clamped.

    Args:
        radius: Half width of uniform noise, or standard deviation of gaussian noise, as a share of the range of the
            values: of the case's `value_range`, else of each image's own.
        num_samples: Copies per image.
        noise: ``"uniform"`` over (−radius, radius), or ``"gaussian"``.
        seed: Of the noise.
        absolute: Whether ``radius`` is in the units of the images instead.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "heatmaps", "target", "explainer"})

    radius: float = 0.02
    num_samples: int = 10
    noise: Literal["uniform", "gaussian"] = "uniform"
    seed: int = 0
    absolute: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_at_least(self.radius, 0.0, "radius", strict=True)
        check_count(self.num_samples, "num_samples")
        check_choice(self.noise, ("uniform", "gaussian"), "noise")
        check_count(self.seed, "seed", least=-math.inf)

    def evaluations(self, explaining: int = 1) -> int:
        """Return the cost of ``num_samples`` heatmaps."""
        return self.num_samples * explaining

    def collect(self, case: Case) -> Neighbours:
        """Return the distances; copies are made and explained in chunks across images and samples."""
        chunks = case.classifier.chunks(len(case) * self.num_samples)
        distances = torch.cat([self._distances(case, chunk) for chunk in chunks])
        heatmap, image = distances.view(len(case), self.num_samples, 2).unbind(-1)
        return Neighbours(torch.where(image > 0, heatmap, torch.nan), _norm(case.heatmaps), image)

    def noise_of(self, case: Case, image: Tensor, sample: Tensor) -> Tensor:
        """Return the noise ε of some samples of some images in the units of these, float32 (n, C, H, W).

        Args:
            case: Whose images.
            image: Index of each, int64 (n,).
            sample: Which of its copies, int64 (n,).
        """
        noise = self.draw(case.keys[image], tuple(case.images.shape[1:]), sample)
        return noise.mul_(case.noise_unit(absolute=self.absolute)[image])

    def draw(self, keys: Tensor, size: tuple[int, ...], sample: int | Tensor) -> Tensor:
        """Return the noise of one sample for images with content ``keys`` (N,) and a range of 1, float32 (N, *size)."""
        if self.noise == "gaussian":
            return self.radius * normal(keys, size, seed=self.seed, sample=sample)
        return uniform(keys, size, seed=self.seed, sample=sample).mul_(2.0).sub_(1.0).mul_(self.radius)

    def _distances(self, case: Case, chunk: slice) -> Tensor:
        flat_index = torch.arange(chunk.start, chunk.stop, device=case.images.device)
        image, sample = flat_index // self.num_samples, flat_index % self.num_samples
        noise = self.noise_of(case, image, sample)
        noisy = case.images[image] + noise.to(case.images.dtype)
        heatmaps = case.explainer(case.classifier.rows(image), noisy, case.target[image])
        return torch.stack([_norm(case.heatmaps[image] - heatmaps), _norm(noise)], 1)


def _norm(tensor: Tensor) -> Tensor:
    """Return the Euclidean norm of each row; divided by its maximum first, or the squares of small values vanish."""
    flat = tensor.flatten(1)
    peak = flat.abs().amax(1)
    scale = torch.where(peak > 0, peak, 1.0)
    return (flat / scale[:, None]).square().sum(1).sqrt() * scale  # `sum` is pairwise, `vector_norm` is not
