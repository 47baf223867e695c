"""The heatmap grid of an explained epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.loggers.log_picture import log_picture
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.probing.sample import Sample
from lightning_xai.reports.report import Report, Run

_NAME = "heatmaps"


@dataclass(frozen=True)
class Grid(Report):
    """Show images beside their heatmaps, in every logger that can show pictures, else as PNG files.

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

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Draw the grid of every loader and log it."""
        for loader, found in epoch.loaders.items():
            count = min(self.num_images, len(found))
            if not count:
                continue
            title = f"epoch {epoch.epoch} · step {epoch.step}"
            sample = run.probes[loader].sample(range(count), torch.device("cpu"))
            heatmaps = {name: maps[:count] for name, maps in run.heatmaps[loader].items()}
            picture = self.draw(sample, found, heatmaps, epoch.task, title=title)
            name = run.keys.full(_NAME, loader=loader if run.several_loaders else None)
            log_picture(run.trainer, name, picture, caption=title, directory=run.folder)

    def draw(
        self, sample: Sample, found: Explained, heatmaps: Mapping[str, Tensor], task: str, *, title: str
    ) -> Tensor:
        """Return the picture, uint8 (H, W, 3).

        Args:
            sample: The images with their annotations, the first of the probe.
            found: About the probe.
            heatmaps: Explainer -> heatmaps (n, H, W) of these images.
            task: Of the classifier.
            title: Above the grid.
        """
        from lightning_xai.visualization import heatmap_grid

        count = len(sample.images)
        labels, target, predicted = found.labels[:count], found.target[:count], found.predicted[:count]
        probabilities = found.probabilities[:count]
        confidence = probabilities.gather(1, predicted[:, None])[:, 0]
        right = predicted == labels
        if task == "multilabel":  # another class of the image may be more probable
            right = probabilities.gather(1, labels.clamp(min=0)[:, None])[:, 0] > 0.5
        captions = [
            self._caption(int(label), int(guess), float(sure), int(asked))
            for label, guess, sure, asked in zip(labels, predicted, confidence, target, strict=True)
        ]
        return heatmap_grid(
            sample.images,
            heatmaps,
            captions=captions,
            correct=None if bool((labels < 0).any()) else right.tolist(),
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
