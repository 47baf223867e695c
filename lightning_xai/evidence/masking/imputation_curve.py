"""The class score while pixels are replaced by what their neighbours suggest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import spsolve
from torch import Tensor

from lightning_xai._checks import check_at_least, check_choice
from lightning_xai._randomness import normal
from lightning_xai.evidence.heat import ORDERS, TIES, Order, Ties, ranks
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.evidence.removal.changed_images import BuildChangedImages, scores_of_changed_images

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

_WEIGHTS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}


@dataclass(frozen=True)
class ImputationCurve(Masking):
    """Probability of the target, (N, P), when the given percentages of pixels are removed by noisy linear imputation.

    A removed pixel is the weighted mean of its neighbours (direct 1/6, diagonal 1/12, renormalised at the border),
    removed ones included, which is a sparse linear system per image; then noise is added.

    Args:
        percentages: Of pixels that are removed.
        order: Most or least relevant pixels first.
        noise: Standard deviation of the noise as a share of the image's range.
        seed: Of noise and random ties.
        ties: See `ranks`.

    Raises:
        ValueError: If a percentage is not between 0 and 100, or another setting is out of range.
    """

    has_unchanged_image: ClassVar[bool] = False

    percentages: tuple[float, ...] = (20.0, 40.0, 60.0, 80.0)
    order: Order = "morf"
    noise: float = 0.01
    seed: int = 0
    ties: Ties = "random"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.ties, TIES, "ties")
        check_choice(self.order, ORDERS, "order")
        check_at_least(self.noise, 0.0, "noise")
        if not self.percentages or not all(0 < percentage < 100 for percentage in self.percentages):
            raise ValueError(f"Expected `percentages` between 0 and 100, but got {self.percentages}.")

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return one per percentage."""
        return len(self.percentages)

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, P)."""
        return scores_of_changed_images(case, len(self.percentages), self._imputed(case), lowered=True)

    @property
    def description(self) -> str:
        """What happens along the curve."""
        return "pixels imputed"

    def share_changed(self, case: Case) -> Tensor:
        """Return the percentages as shares for every image, float32 (N, P)."""
        return (torch.tensor(self.percentages) / 100.0).expand(len(case), -1)

    def changed_images(self, case: Case, image_index: int, points: Sequence[int]) -> Tensor:
        """Return one image at some of the percentages, given by their index, (n, C, H, W)."""
        version_index = torch.tensor(points, device=case.images.device)
        return self._imputed(case)(torch.full_like(version_index, image_index), version_index)

    def _imputed(self, case: Case) -> BuildChangedImages:
        rank = ranks(case.heatmaps.flatten(1), case.keys, ties=self.ties, order=self.order, seed=self.seed).view_as(
            case.heatmaps
        )
        num_removed = torch.tensor([round(p / 100 * rank[0].numel()) for p in self.percentages], device=rank.device)

        def build(image_index: Tensor, version_index: Tensor) -> Tensor:
            removed = rank[image_index] < num_removed[version_index][:, None, None]
            filled = torch.stack([imputed(*pair) for pair in zip(case.images[image_index], removed, strict=True)])
            noise = self._noise(case, image_index, version_index)
            return torch.where(removed[:, None], filled + noise, filled)

        return build

    def _noise(self, case: Case, image_index: Tensor, version_index: Tensor) -> Tensor:
        images = case.images[image_index]
        spread = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
        noise = normal(case.keys[image_index], tuple(images.shape[1:]), seed=self.seed, sample=version_index)
        return self.noise * spread * noise.to(images.dtype)


def imputed(image: Tensor, removed: Tensor) -> Tensor:
    """Return one image (C, H, W) whose ``removed`` pixels, boolean (H, W), follow from their neighbours."""
    mask = removed.cpu().numpy().ravel()
    if not mask.any():
        return image
    system = _laplacian(removed.shape[0], removed.shape[1])[mask]
    pixels = image.detach().double().flatten(1).T.cpu().numpy()
    known = -system[:, ~mask] @ pixels[~mask]
    filled = pixels.copy()
    filled[mask] = spsolve(system[:, mask].tocsc(), known).reshape(known.shape)
    return torch.from_numpy(filled.T.copy()).view(image.shape).to(image)


def _laplacian(height: int, width: int) -> csr_matrix:
    """Return A with (A x)_p = Σ_n w_pn (x_p − x_n) over the neighbours n inside the image, (HW, HW)."""
    index = np.arange(height * width).reshape(height, width)
    rows, columns, values = [], [], []
    for (down, right), weight in _WEIGHTS.items():
        left = max(0, -right)
        first = index[: height - down, left : width - max(0, right)].ravel()
        second = index[down:, left + right : width + min(0, right)].ravel()
        rows += [first, second]
        columns += [second, first]
        values.append(np.full(2 * len(first), weight))
    place = (np.concatenate(rows), np.concatenate(columns))
    links = csr_matrix((np.concatenate(values), place), shape=(height * width, height * width))
    return (diags(np.asarray(links.sum(1)).ravel()) - links).tocsr()
