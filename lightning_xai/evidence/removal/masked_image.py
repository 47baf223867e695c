"""The model's answer to an image seen through its heatmap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least, check_choice, check_value_range
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.heat import is_degenerate, normalized, positive_percentile

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

Normalization: TypeAlias = Literal["max_abs", "minmax"]


@dataclass(frozen=True)
class MaskedImage(Evidence[Tensor]):
    """Logits (N, K) of each image with its heatmap laid over it, NaN where the heatmap does not say how.

    Args:
        mask: ``"soft"``, the image times the min-max normalised heatmap; ``"hidden"``, pixels with positive heat at or
            above the percentile of the positive heat set to 0; ``"enhanced"``, intensities in [-1, 1] times 1 + heat.
        percentile: For ``"hidden"``, in percent.
        value_range: For ``"enhanced"``, what becomes [-1, 1]; each image's own range if None.
        normalize: For ``"enhanced"``, how heat is scaled: ``"max_abs"`` divides it by its largest magnitude,
            ``"minmax"`` puts its least value at -1 and its greatest at 1.

    Raises:
        ValueError: If a setting is out of range.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "heatmaps"})

    mask: Literal["soft", "hidden", "enhanced"] = "soft"
    percentile: float = 10.0
    value_range: tuple[float, float] | None = None
    normalize: Normalization = "max_abs"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.mask, ("soft", "hidden", "enhanced"), "mask")
        check_choice(self.normalize, ("max_abs", "minmax"), "normalize")
        check_at_least(self.percentile, 0.0, "percentile")
        if self.value_range is not None:
            object.__setattr__(self, "value_range", check_value_range(self.value_range))

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 1."""
        return 1

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, K)."""
        images, heatmaps = case.images, case.heatmaps
        logits = case.classifier.evaluate(len(case), lambda chunk: self.apply(images[chunk], heatmaps[chunk]))
        return torch.where(self.defined(heatmaps)[:, None], logits, torch.nan)

    def defined(self, heatmaps: Tensor) -> Tensor:
        """Return for which heatmaps the mask exists, boolean (N,)."""
        if self.mask == "hidden":
            return (heatmaps > 0).flatten(1).any(1)
        if self.mask == "enhanced" and self.normalize == "max_abs":
            return torch.ones(len(heatmaps), dtype=torch.bool, device=heatmaps.device)
        return ~is_degenerate(heatmaps)

    def apply(self, images: Tensor, heatmaps: Tensor) -> Tensor:
        """Return the masked images (N, C, H, W)."""
        heat = heatmaps[:, None]
        if self.mask == "soft":
            return images * normalized(heatmaps)[:, None].nan_to_num(0.0).to(images.dtype)
        if self.mask == "hidden":
            cut = positive_percentile(heatmaps, self.percentile)[:, None, None, None]
            return torch.where((heat > 0) & (heat >= cut), 0.0, images)
        if self.normalize == "minmax":
            return self._enhanced(images, (2.0 * normalized(heatmaps)[:, None] - 1.0).nan_to_num(0.0).to(images.dtype))
        peak = heat.abs().amax((1, 2, 3), keepdim=True)
        return self._enhanced(images, (heat / torch.where(peak > 0, peak, 1.0)).to(images.dtype))

    def _enhanced(self, images: Tensor, heat: Tensor) -> Tensor:
        """Return the images brightened where ``heat``, in [-1, 1], is positive and greyed where it is negative."""
        if self.value_range is None:
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        else:
            low, high = (torch.tensor(edge, dtype=images.dtype, device=images.device) for edge in self.value_range)
        half = ((high - low) / 2).clamp(min=torch.finfo(images.dtype).tiny)
        raised = (1 + heat) * ((images - low) / half - 1)
        return (raised.clamp(-1, 1) + 1) * half + low
