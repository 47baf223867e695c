"""The heatmap grid of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.callbacks.sample import Sample
from lightning_xai.callbacks.study import Findings


@dataclass(frozen=True)
class Grid:
    """How the heatmap grid looks.

    Args:
        num_images: Rows; 0 draws no grid.
        class_names: Shown instead of class numbers.
        mean: Per channel, what the images were normalised with, so that they are shown as they were.
        std: Per channel, likewise.
        cell_size: Longer side of a cell in pixels.

    Raises:
        ValueError: If a number is out of range.
    """

    num_images: int = 8
    class_names: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    cell_size: int = 160

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.num_images, "num_images of the grid", least=0)
        check_count(self.cell_size, "cell_size", least=32)
        if (self.mean is None) != (self.std is None):
            given = "std" if self.mean is None else "mean"
            raise ValueError(f"Expected `mean` and `std` of the grid together, but got `{given}` alone.")

    def check(self, sample: Sample) -> None:
        """Raise ValueError if images like these cannot be drawn with these settings."""
        from lightning_xai.visualization import as_pictures

        as_pictures(sample.images, self.mean, self.std)

    def draw(self, sample: Sample, found: Findings, classes: Tensor, task: str, *, title: str) -> Tensor:
        """Return the picture, uint8 (H, W, 3).

        Args:
            sample: The shown images with their annotations.
            found: What was found about them.
            classes: Class that each image stands for, -1 where none.
            task: Of the classifier.
            title: Above the grid.
        """
        from lightning_xai.visualization import heatmap_grid

        probabilities = found.logits.softmax(1) if task == "multiclass" else found.logits.sigmoid()
        confidence, predicted = probabilities.max(1)
        right = predicted == classes
        if task == "multilabel":  # another class of the image may be more probable
            right = probabilities.gather(1, classes.clamp(min=0)[:, None])[:, 0] > 0.5
        captions = [
            self._caption(int(label), int(guess), float(sure), int(target))
            for label, guess, sure, target in zip(classes, predicted, confidence, found.target, strict=True)
        ]
        return heatmap_grid(
            sample.images,
            found.heatmaps,
            captions=captions,
            correct=None if bool((classes < 0).any()) else right.tolist(),
            masks=sample.masks,
            boxes=sample.boxes if sample.masks is None else None,
            mean=self.mean,
            std=self.std,
            cell_size=self.cell_size,
            title=title,
        )

    def _caption(self, label: int, predicted: int, confidence: float, target: int) -> str:
        lines = [] if label < 0 else [f"label {self._name(label)}"]
        lines.append(f"predicted {self._name(predicted)}")
        lines.append(f"confidence {confidence:.2f}")
        if {target} != {predicted, predicted if label < 0 else label}:
            lines.append(f"explained {self._name(target)}")
        return "\n".join(lines)

    def _name(self, label: int) -> str:
        known = self.class_names is not None and 0 <= label < len(self.class_names)
        return self.class_names[label] if known and self.class_names is not None else str(label)
