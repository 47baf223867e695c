"""Heatmaps of the same images over epochs in one scale: as a strip with a column per epoch, and as a film."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.visualization.grid import legend_of_heat
from lightning_xai.visualization.page import Page, PageColumn
from lightning_xai.visualization.page_layout import PictureSize
from lightning_xai.visualization.pictures import intensity, said_where_blank, with_heat

_SMALLEST_TEXT = 12
_TEXT_FRACTION = 0.09  # size of the text in longer sides of a picture
_ROWS_OF_A_FRAME = 2


@dataclass(frozen=True, eq=False)
class Film:
    """The heatmaps of some images in several epochs, drawn in one scale per image.

    Colours can be compared along a row: what is pale in one epoch is weaker there, in the units of the explainer. The
    values drawn as none and as strongest are taken from all epochs of an image together; see `intensity`.

    Args:
        pictures: The images, uint8 (h, w, 3) each; they may differ in size.
        heatmaps: For each epoch the raw heatmaps of these images, float (N, h, w) of any size, NaN beyond the edges of
            smaller images, and all NaN where an image has none.
        names: Of the epochs, such as ``"epoch 3"``.
        captions: Of the images, lines separated by newlines; empty for none.
        labels: For each epoch, what stands in the corner of each image's picture; empty for none.
        cell_size: Longer side of a picture in pixels.
        scale: What a line at the foot says about the scales.

    Raises:
        ValueError: If there is no image or no epoch, or numbers of epochs or images differ.
    """

    pictures: Sequence[Tensor]
    heatmaps: Sequence[Tensor]
    names: Sequence[str]
    captions: Sequence[str] = ()
    labels: Sequence[Sequence[str]] = ()
    cell_size: int = 112
    scale: str = "one scale per image, over all epochs"

    def __post_init__(self) -> None:
        """Check the numbers of images and epochs."""
        if not self.pictures or not self.heatmaps:
            raise ValueError("Expected `pictures` and `heatmaps` to hold at least one image and one epoch.")
        if {len(maps) for maps in self.heatmaps} != {len(self.pictures)} or len(self.names) != len(self.heatmaps):
            raise ValueError(
                f"Expected `heatmaps` to hold {len(self.pictures)} maps for each of {len(self.names)} epochs, but got "
                f"{[len(maps) for maps in self.heatmaps]}."
            )

    @staticmethod
    def of_epochs(
        epochs: Sequence[ExplainedEpoch],
        loader: int,
        explainer: str,
        keys: Sequence[int],
        pictures: Sequence[Tensor],
        captions: Sequence[str],
        cell_size: int = 112,
    ) -> Film | None:
        """Return the film of some images, by the keys of their content, over epochs that hold heatmaps.

        Epochs that know none of the images are left out; None where fewer than two are left. The probability of the
        explained class stands on each picture.
        """
        known = [(one, one.loaders[loader]) for one in epochs if loader in one.loaders]
        known = [
            (one, found)
            for one, found in known
            if explainer in found.heatmaps and not set(keys).isdisjoint(found.keys.tolist())
        ]
        if len(known) < 2:
            return None
        parts = [_of_images(found, explainer, keys) for _, found in known]
        names = [f"epoch {one.epoch}" for one, _ in known]
        return Film(pictures, [maps for maps, _ in parts], names, captions, [words for _, words in parts], cell_size)

    def strip(self, epochs: Sequence[int] | None = None, *, title: str = "", num_blocks: int = 1) -> Tensor:
        """Return a row per image and a column per epoch, beside the image itself: uint8 (height, width, 3).

        Args:
            epochs: Indices of those that get a column; all if None.
            title: Above everything.
            num_blocks: Blocks of rows beside each other.
        """
        shown = range(len(self.heatmaps)) if epochs is None else epochs
        columns = [PageColumn("image", self._drawn_pictures), *(self._column(epoch) for epoch in shown)]
        return Page(columns, self._text_size, self.captions, (), title, (self.scale,), num_blocks).drawn()

    def frames(self, titles: Sequence[str] = ()) -> list[Tensor]:
        """Return a page per epoch, all of one size: images beside their heatmaps."""
        blocks = -(-len(self.pictures) // _ROWS_OF_A_FRAME)
        pages = []
        for epoch, title in enumerate(titles or self.names):
            columns = [PageColumn("image", self._drawn_pictures), self._column(epoch)]
            pages.append(Page(columns, self._text_size, self.captions, (), title, (self.scale,), blocks).drawn())
        return _of_one_size(pages)

    def beside(self) -> Tensor:
        """Return the first image beside its first heatmap, without any text: uint8 (height, width, 3)."""
        return torch.cat([self._drawn_pictures[0], self._column(0).pictures[0]], dim=1)

    @property
    def _text_size(self) -> int:
        return max(_SMALLEST_TEXT, round(_TEXT_FRACTION * self.cell_size))

    def _column(self, epoch: int) -> PageColumn:
        drawn = self._with_heat([heat[epoch] for heat in self._heats])
        legend = legend_of_heat(self._text_size, drawn[0].shape[1], signed=self._signed)
        return PageColumn(
            self.names[epoch], drawn, legend, self._blank(epoch), self.labels[epoch] if self.labels else ()
        )

    def _with_heat(self, heats: Sequence[Tensor]) -> list[Tensor]:
        """Return the pictures with a heatmap over each; those of one size in one go."""
        pictures = self._drawn_pictures
        if len({picture.shape for picture in pictures}) == 1:
            return list(with_heat(torch.stack(pictures), torch.stack(list(heats)), signed=self._signed))
        pairs = zip(pictures, heats, strict=True)
        return [with_heat(picture[None], heat[None], signed=self._signed)[0] for picture, heat in pairs]

    def _blank(self, epoch: int) -> list[str]:
        """Return why a map is blank, an empty text where it is not, or where there is none."""
        return [
            "" if bool(maps.isnan().all()) else said_where_blank(maps[None], heat[epoch][None])[0]
            for maps, heat in zip(self.heatmaps[epoch], self._heats, strict=True)
        ]

    @cached_property
    def _sizes(self) -> list[PictureSize]:
        return [PictureSize(picture.shape[0], picture.shape[1], self.cell_size) for picture in self.pictures]

    @cached_property
    def _drawn_pictures(self) -> list[Tensor]:
        pairs = zip(self._sizes, self.pictures, strict=True)
        return [size.resized_pictures(picture[None])[0] for size, picture in pairs]

    @cached_property
    def _resized(self) -> list[Tensor]:
        """The maps of each image over epochs, float32 (T, height, width) of its picture."""
        return [
            torch.stack([_resized(maps[image], size) for maps in self.heatmaps])
            for image, size in enumerate(self._sizes)
        ]

    @property
    def _signed(self) -> bool:
        return self._signed_and_heats[0]

    @property
    def _heats(self) -> list[Tensor]:
        return self._signed_and_heats[1]

    @cached_property
    def _signed_and_heats(self) -> tuple[bool, list[Tensor]]:
        """Whether some map has negative values, and what is drawn of each image's maps."""
        heats = [intensity(maps, "shared") for maps in self._resized]
        signed = any(bool((heat < 0).any()) for heat in heats)
        return signed, [intensity(maps, "shared", signed=True) for maps in self._resized] if signed else heats


def animated(frames: Sequence[Tensor], *, milliseconds: int = 600) -> bytes:
    """Return frames, uint8 (H, W, 3), as a WebP file that repeats for ever and rests on its last frame."""
    from PIL import Image

    first, *others = [Image.fromarray(np.ascontiguousarray(frame.numpy())) for frame in frames]
    content = io.BytesIO()
    durations = [milliseconds] * len(others) + [3 * milliseconds]
    first.save(content, "WEBP", save_all=True, append_images=others, duration=durations, loop=0, quality=80)
    return content.getvalue()


def evenly(count: int, most: int) -> list[int]:
    """Return at most so many of ``range(count)``, the first and the last among them, at even distances.

    Example:
        >>> evenly(4, 8), evenly(10, 4), evenly(10, 1)
        ([0, 1, 2, 3], [0, 3, 6, 9], [9])
    """
    if count <= most:
        return list(range(count))
    return [count - 1] if most == 1 else [round(step * (count - 1) / (most - 1)) for step in range(most)]


def _of_images(found: Explained, explainer: str, keys: Sequence[int]) -> tuple[Tensor, list[str]]:
    """Return the raw heatmaps of some images, NaN where there is none, and what stands on their pictures."""
    maps = found.raw_heatmaps(explainer)
    blank = torch.full(maps.shape[1:], torch.nan)
    place = {key: index for index, key in enumerate(found.keys.tolist())}
    probabilities = found.probabilities.gather(1, found.target[:, None])[:, 0].tolist()
    words = [f"p {probabilities[place[key]]:.2f}" if key in place else "" for key in keys]
    return torch.stack([maps[place[key]] if key in place else blank for key in keys]), words


def _resized(heatmap: Tensor, size: PictureSize) -> Tensor:
    """Return a map (h, w), without what lies beyond its own edges, in the size of its picture."""
    maps = heatmap.detach().cpu().float()
    known = ~maps.isnan()
    if bool(known.any()) and not bool(known.all()):
        maps = maps[: int(known.any(1).sum()), : int(known.any(0).sum())]
    return F.interpolate(maps[None, None], (size.height, size.width), mode="bilinear", align_corners=False)[0, 0]


def _of_one_size(pages: Sequence[Tensor]) -> list[Tensor]:
    """Return pages of one size: those that are smaller get white margins."""
    height, width = (max(page.shape[side] for page in pages) for side in (0, 1))
    return [F.pad(page, (0, 0, 0, width - page.shape[1], 0, height - page.shape[0]), value=255) for page in pages]
