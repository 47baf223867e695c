"""What is found in a cell: its heatmaps, and the values of each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.comparison.images import ComparedImages

_SIGNATURE = 7  # cells per side: two methods do not agree in all of them on any image by chance


@dataclass(frozen=True, eq=False)
class CellHeatmaps:
    """The heatmaps of one explainer in one setting; first axis N, in the order of the images.

    Attributes:
        heatmaps: Of each batch of `ComparedImages.chunks`, float32 (n, H, W), on the CPU.
        signature: Small heatmaps with peak 1, float32 (N, 7, 7), by which equal methods are found.
        evaluations: Of the model, for all images.
        seconds: For all images.
        picked: What the explainer captured, in words.
    """

    heatmaps: list[Tensor]
    signature: Tensor
    evaluations: int = 0
    seconds: float = 0.0
    picked: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What is known of the images of a setting; first axis N.

    Attributes:
        keys: Content key of each image before any transform, int64.
        ids: What a reader knows each image by; None where the data do not say.
        labels: Class that each image stands for, int64, -1 where none.
        target: The explained class, int64.
        predicted: The most probable class, int64.
        probabilities: Of the explained class, float32.
    """

    keys: Tensor
    ids: tuple[str | None, ...]
    labels: Tensor
    target: Tensor
    predicted: Tensor
    probabilities: Tensor

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, eq=False)
class CellValues:
    """What one metric says about the heatmaps of one cell.

    Attributes:
        rows: float32 (N,) or (N, D), NaN where undefined.
        facts: What is known of the images.
        evaluations: Of the model that the metric cost beside what was shared, for all images.
        seconds: Likewise.
        settings: All that decides the values, in words.
    """

    rows: Tensor
    facts: ImageFacts
    evaluations: int = 0
    seconds: float = 0.0
    settings: str = ""

    @property
    def columns(self) -> Tensor:
        """The rows with an axis of columns, (N, D)."""
        return self.rows[:, None] if self.rows.ndim == 1 else self.rows


def joined_heatmaps(parts: Sequence[CellHeatmaps], images: ComparedImages) -> CellHeatmaps:
    """Return the heatmaps of a cell from those of its parts, each in the order of its batches."""
    return CellHeatmaps(
        heatmaps=[maps for part in parts for maps in part.heatmaps],
        signature=images.in_order([part.signature for part in parts]),
        evaluations=sum(part.evaluations for part in parts),
        seconds=sum(part.seconds for part in parts),
        picked=parts[0].picked,
    )


def joined_values(parts: Sequence[CellValues], images: ComparedImages) -> CellValues:
    """Return the values of a cell from those of its parts, each in the order of its batches."""
    facts = [part.facts for part in parts]
    order = images.in_order([torch.arange(sum(map(len, facts)))]).tolist()
    ids = [name for one in facts for name in one.ids]
    whole = ImageFacts(
        keys=images.in_order([one.keys for one in facts]),
        ids=tuple(ids[place] for place in order),
        labels=images.in_order([one.labels for one in facts]),
        target=images.in_order([one.target for one in facts]),
        predicted=images.in_order([one.predicted for one in facts]),
        probabilities=images.in_order([one.probabilities for one in facts]),
    )
    return replace(
        parts[0],
        rows=images.in_order([part.rows for part in parts]),
        facts=whole,
        evaluations=sum(part.evaluations for part in parts),
        seconds=sum(part.seconds for part in parts),
    )


def signature_of(heatmaps: Tensor) -> Tensor:
    """Return heatmaps (n, H, W) averaged to 7×7 and divided by their greatest magnitude, float32 (n, 7, 7)."""
    small = F.adaptive_avg_pool2d(heatmaps.double()[:, None], _SIGNATURE)[:, 0]
    peak = small.abs().amax((1, 2), keepdim=True)
    return torch.where(peak > 0, small / peak, small).float()


def same_method(first: CellHeatmaps, second: CellHeatmaps, tolerance: float = 1e-5) -> bool:
    """Return whether two explainers have one heatmap for every image, up to its scale."""
    a, b = first.signature, second.signature
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance).all())
