"""The heatmap grid of an explained epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import PurePath
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai._lightning import loaded
from lightning_xai.loggers.log_picture import log_picture
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.probing.sample import Sample
from lightning_xai.reports.captions import Captions, class_names
from lightning_xai.reports.report import Report, Run
from lightning_xai.visualization.channels import MOST_COLOURS, Channels

_NAME = "heatmaps"
_HEADLINE = {"gain": "faithfulness_gain", "skill": "faithfulness_skill"}
_ROWS_OF_A_CARD = 3  # TensorBoard's default card is 240 pixels high: letters are 9 pixels high then, with 8 rows 6

Images: TypeAlias = Tensor | Sequence[Tensor]
"""One tensor (N, ...), or N tensors that differ in size."""


@dataclass(frozen=True)
class Grid(Report):
    """Show images beside their heatmaps, in every logger that can show pictures, else as PNG files.

    The caption, of Weights & Biases and in PNG files, tells ``faithfulness_gain`` and ``faithfulness_skill``.

    Args:
        num_images: Rows; 0 draws no grid. TensorBoard gets them in pages of at most three, legible on its cards:
            ``heatmaps``, ``heatmaps_2`` …
        class_names: Shown instead of class numbers; None for those that the validation's data set, the DataModule or
            the model know, if there are as many as the model has classes.
        mean: Per channel, what the images were normalised with, so that they are shown as they were.
        std: Per channel, likewise.
        cell_size: Longer side of a cell in pixels.
        channels: Shown of images that are no photographs: one, drawn gray, or three as red, green and blue, from 0.
            They are stretched from the 2 % to the 98 % quantile of all explained images, the same in every epoch,
            whatever ``mean`` and ``std``. None for images as they are, and the first three of more than three channels.
        files: Whether a PNG goes into the run's folder beside the loggers, too.

    Raises:
        TypeError: If ``channels`` are no whole numbers.
        ValueError: If a number is out of range.
    """

    num_images: int = 8
    class_names: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    cell_size: int = 160
    channels: int | Sequence[int] | None = None
    files: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.num_images, "num_images of the grid", least=0)
        check_count(self.cell_size, "cell_size", least=32)
        if self.channels is not None:
            Channels(self.channels)
        if (self.mean is None) != (self.std is None):
            given = "std" if self.mean is None else "mean"
            raise ValueError(f"Expected `mean` and `std` of the grid together, but got `{given}` alone.")

    def check(self, sample: Sample) -> None:
        """Raise ValueError if images like these cannot be drawn with these settings."""
        from lightning_xai.visualization import as_pictures

        as_pictures(sample.images, self.mean, self.std)
        if self.channels is not None:
            Channels(self.channels).of(sample.images)

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Draw the grid of every loader and log it, unless the images of the run are private."""
        if run.private:
            return
        for loader, found in epoch.loaders.items():
            count = min(self.num_images, len(found))
            if not count:
                continue
            index = loader if run.several_loaders else None
            name = run.keys.full(_NAME, loader=index)
            title, draw = _title(epoch), partial(self._drawn, epoch, run, loader)
            shows_cards = any(isinstance(one, loaded("loggers.TensorBoardLogger")) for one in run.trainer.loggers)
            num_pages = -(-count // _ROWS_OF_A_CARD) if shows_cards else 1
            edges = [-(-count * page // num_pages) for page in range(num_pages + 1)]  # about as many rows on each
            pages = list(pairwise(edges)) if num_pages > 1 else []
            whole = partial(draw, range(count), title)
            log_picture(
                run.trainer,
                name,
                whole if pages else whole(),  # TensorBoard takes the pages, and is often alone
                caption=" · ".join([title, *_headline(epoch, run, index)]),
                directory=run.folder,
                files=self.files,
                moment=(epoch.epoch, epoch.step),
                pages=[draw(range(*page), title) for page in pages],
            )

    def _drawn(self, epoch: ExplainedEpoch, run: Run, loader: int, places: range, title: str) -> Tensor:
        """Return the grid of some images of a probe."""
        found, probe = epoch.loaders[loader], run.probes[loader]
        one_size = len(probe.places_by_size) == 1
        samples = [
            probe.sample(some, torch.device("cpu")) for some in ([places] if one_size else [[i] for i in places])
        ]
        names = self.class_names
        if names is None:
            names = class_names(run.trainer, epoch.stage, loader, found.probabilities.shape[1])
        shown = ("keys", "labels", "target", "predicted", "probabilities")
        return replace(self, class_names=names).draw(
            samples[0] if one_size else samples,
            replace(found, **{name: getattr(found, name)[list(places)] for name in shown}),
            {name: maps[list(places)] for name, maps in run.heatmaps[loader].items()},
            epoch.task,
            title=title,
            others=[item.image for item in probe.items],
        )

    def draw(
        self,
        sample: Sample | Sequence[Sample],
        found: Explained,
        heatmaps: Mapping[str, Tensor],
        task: str,
        *,
        title: str,
        others: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return the picture, uint8 (H, W, 3).

        Args:
            sample: The images with their annotations, the first of the probe; each in a sample of its own where they
                differ in size.
            found: About the probe.
            heatmaps: Explainer -> heatmaps (n, H, W) of these images, whatever beyond the edges of smaller ones.
            task: Of the classifier.
            title: Above the grid.
            others: All images (C, H, W) whose values decide how channels are stretched; those of the sample if None.
        """
        from lightning_xai.visualization import heatmap_grid

        captions = Captions(sample, found, task, self.class_names)
        images, masks, boxes, maps, regions = _parts(sample, heatmaps)
        mean, std = self.mean, self.std
        notes: tuple[str, ...] = ()
        if self.channels is not None or len(images[0]) > MOST_COLOURS:
            channels = Channels(self.channels)
            notes = (channels.described(len(images[0])),)
            limits = channels.limits(images if others is None else others)
            if isinstance(images, Tensor):
                images = channels.stretched(images, limits)
            else:
                images = [channels.stretched(image[None], limits)[0] for image in images]
            mean = std = None
        return heatmap_grid(
            images,
            maps,
            captions=captions.texts,
            correct=captions.correct,
            masks=masks,
            boxes=boxes if masks is None else None,
            mean=mean,
            std=std,
            cell_size=self.cell_size,
            title=title,
            notes=notes,
            regions=regions,
        )


def _parts(
    sample: Sample | Sequence[Sample], heatmaps: Mapping[str, Tensor]
) -> tuple[Images, Images | None, Images | None, Mapping[str, Images], Mapping[str, Images]]:
    """Return images, masks, boxes, heatmaps and regions, each as one tensor or as one per image."""
    if isinstance(sample, Sample):
        return sample.images, sample.masks, sample.boxes, heatmaps, sample.regions or {}
    images = [one.images[0] for one in sample]
    masks = [one.masks[0] for one in sample if one.masks is not None]
    boxes = [one.boxes[0] for one in sample if one.boxes is not None]
    maps = {
        name: [one[: image.shape[1], : image.shape[2]] for one, image in zip(maps, images, strict=True)]
        for name, maps in heatmaps.items()
    }
    regions = {name: [one.regions[name][0] for one in sample if one.regions] for name in sample[0].regions or ()}
    known = [parts if len(parts) == len(images) else None for parts in (masks, boxes)]
    return images, known[0], known[1], maps, regions


def _title(epoch: ExplainedEpoch) -> str:
    """Say when the grid was drawn, and which checkpoint was validated or tested."""
    checkpoint = [] if epoch.checkpoint is None else [PurePath(epoch.checkpoint).name]
    return " · ".join([*checkpoint, f"epoch {epoch.epoch}", f"step {epoch.step}"])


def _headline(epoch: ExplainedEpoch, run: Run, loader: int | None) -> Iterator[str]:
    """Yield how good the heatmaps of each explainer are, as far as that is logged and defined."""
    explainers = run.keys.plan.explainers
    for explainer in explainers:
        keys = {word: run.keys.full(key, explainer=explainer, loader=loader) for word, key in _HEADLINE.items()}
        told = [f"{word} {epoch.estimates[key]}" for word, key in keys.items() if key in epoch]
        if told:
            yield (f"{explainer}: " if len(explainers) > 1 else "") + ", ".join(told)
