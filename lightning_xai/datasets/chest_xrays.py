"""Procedural images that look like chest X-rays: several findings each, and a marker that may give one away."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_xai._checks import check_at_least, check_count
from lightning_xai.datasets.chest import Numbers
from lightning_xai.datasets.findings import FINDINGS, draw_chests
from lightning_xai.datasets.scanner import SCANNERS, choose_sites, draw_frames, draw_markers, frame_masks, scan
from lightning_xai.datasets.shapes import boxes_around, one_thread

MARKED = "effusion"
"""The finding that the marker goes with."""
_ANNOTATED = 0.5
_LEAST_SIZE = 48
_PIXELS_AT_ONCE = 1 << 19


class ChestXraysSample(TypedDict):
    """One item of `ChestXraysDataset`; the default collate function makes batches that `ExplanationMonitor` reads.

    Attributes:
        image: float32 of shape (1, S, S) in [0, 1].
        label: Which of `ChestXraysDataset.classes` are there, float32 of shape (K,), 0 or 1.
        boxes: float32 of shape (K, 4): x0, y0, x1, y1 in pixels, exclusive ends; rows of NaN where nothing is marked.
        box_labels: Class of each box, int64 of shape (K,), -1 where there is none.
        regions: By name, bool of shape (S, S): each finding under its class, ``"lesion"`` (all of them together),
            ``"marker"`` and ``"border"``.
        site: Index into `ChestXraysDataset.sites`.
        id: Such as ``"0-00012"``: seed and index.
    """

    image: Tensor
    label: Tensor
    boxes: Tensor
    box_labels: Tensor
    regions: dict[str, Tensor]
    site: int
    id: str


class ChestXraysDataset(Dataset[ChestXraysSample]):
    """Images that look like chest X-rays: one channel, several findings or none, boxes for some, three sites.

    Nothing is downloaded, and nothing here is a patient: the images are drawn when the dataset is made, to try what
    real ones need. Findings are independent of each other: nodule (in 25 % of the images), effusion (30 %),
    cardiomegaly (20 %), infiltrate (25 %), and pneumothorax, which is rare (5 %); a third of the images have none. As
    in real collections half of the images were never marked by a reader; in the others each finding has its box, but
    for the infiltrate, which has no edge. Where findings truly are is known of all images (`finding_masks`).

    Images come from three sites, whose scanners differ in contrast, blur and noise: "clinic" (50 %), "ward" (30 %) and
    "practice" (20 %). The site says nothing about the findings.

    A **shortcut** can be planted: a letter of lead in an upper corner of 30 % of the images. `marker` is its
    correlation with effusion: at 1 it is there exactly where effusion is, at 0 it says nothing, and in between it is
    that of effusion in a share `marker` of the images and drawn anew in the others. Everything else in the image is the
    same with and without it, and it never covers a finding.

    Image i depends on the seed and on i alone: a short dataset is the beginning of a longer one. The global random
    state is neither read nor changed.

    Args:
        num_images: Number of images N.
        image_size: Side S of the images in pixels, at least 48.
        marker: Correlation of the marker with effusion, in [0, 1]; None for no markers.
        seed: Of all randomness; different seeds give different images.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> dataset = ChestXraysDataset(num_images=4, marker=1.0)
        >>> dataset.classes
        ('nodule', 'effusion', 'cardiomegaly', 'infiltrate', 'pneumothorax')
        >>> sample = dataset[0]
        >>> sample["image"].shape, sample["label"].shape, sample["boxes"].shape
        (torch.Size([1, 64, 64]), torch.Size([5]), torch.Size([5, 4]))
        >>> list(sample["regions"])
        ['nodule', 'effusion', 'cardiomegaly', 'infiltrate', 'pneumothorax', 'lesion', 'marker', 'border']
    """

    classes: tuple[str, ...] = tuple(finding.name for finding in FINDINGS)
    """Names of the findings."""
    sites: tuple[str, ...] = tuple(scanner.name for scanner in SCANNERS)
    """Names of the sites."""
    images: Tensor
    """All images, uint8 of shape (N, 1, S, S)."""
    labels: Tensor
    """Which findings there are, bool of shape (N, K)."""
    finding_masks: Tensor
    """Where each finding is, bool of shape (N, K, S, S); also of findings that no reader marked."""
    annotated: Tensor
    """Whether a reader marked the image, bool of shape (N,)."""
    marker_masks: Tensor
    """The square that a marker fills, bool of shape (N, S, S)."""
    border_masks: Tensor
    """The dark frame, bool of shape (N, S, S)."""
    site_of_image: Tensor
    """Index of each image's site, int64 of shape (N,)."""

    def __init__(self, num_images: int = 512, image_size: int = 64, marker: float | None = None, seed: int = 0) -> None:
        check_count(num_images, "num_images")
        check_count(image_size, "image_size", least=_LEAST_SIZE)
        check_count(seed, "seed", least=0)
        _check_marker(marker)
        self.image_size, self.marker, self.seed = image_size, marker, seed
        at_once = max(1, _PIXELS_AT_ONCE // image_size**2)
        with one_thread():
            blocks = [self._draw(keys) for keys in torch.split(torch.arange(num_images), at_once)]
        parts = (torch.cat(part) for part in zip(*blocks, strict=True))
        self.images, self.labels, self.finding_masks, self.annotated, *others = parts
        self.marker_masks, self.border_masks, self.site_of_image = others

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> ChestXraysSample:
        boxes, box_labels = self._boxes(index)
        return {
            "image": self.images[index] / 255,
            "label": self.labels[index].float(),
            "boxes": boxes,
            "box_labels": box_labels,
            "regions": {
                **dict(zip(self.classes, self.finding_masks[index].clone(), strict=True)),
                "lesion": self.finding_masks[index].any(0),
                "marker": self.marker_masks[index].clone(),
                "border": self.border_masks[index].clone(),
            },
            "site": int(self.site_of_image[index]),
            "id": f"{self.seed}-{range(len(self))[index]:05d}",
        }

    def _boxes(self, index: int) -> tuple[Tensor, Tensor]:
        """Return boxes (K, 4), NaN where nothing is marked, and their classes (K,)."""
        boxes, box_labels = torch.full((len(FINDINGS), 4), torch.nan), torch.full((len(FINDINGS),), -1)
        for place, (finding, mask) in enumerate(zip(FINDINGS, self.finding_masks[index], strict=True)):
            if finding.has_box and self.annotated[index] and mask.any():
                boxes[place] = boxes_around(mask[None])[0].float()
                box_labels[place] = place
        return boxes, box_labels

    def _draw(self, keys: Tensor) -> tuple[Tensor, ...]:
        numbers = Numbers(keys, self.seed)
        columns = [numbers.between(0, 1, f"has {one.name}")[:, 0, 0] < one.prevalence for one in FINDINGS]
        labels, sites = torch.stack(columns, 1), choose_sites(numbers)
        images, finding_masks = draw_chests(labels, numbers, self.image_size)
        border = frame_masks(numbers, self.image_size)
        images = draw_frames(scan(images, sites, numbers), border)
        images, marker = draw_markers(images, self._has_marker(labels, numbers), numbers)
        annotated = numbers.between(0, 1, "annotated")[:, 0, 0] < _ANNOTATED
        pixels = (255 * images.clamp(0, 1)).round().to(torch.uint8)[:, None]
        return pixels, labels, finding_masks, annotated, marker, border, sites

    def _has_marker(self, labels: Tensor, numbers: Numbers) -> Tensor:
        """Return which images have a marker, bool (N,): that of the finding, or one drawn as often, by itself."""
        if self.marker is None:
            return torch.zeros(len(labels), dtype=torch.bool)
        place = self.classes.index(MARKED)
        follows = numbers.between(0, 1, "marker follows")[:, 0, 0] < self.marker
        by_itself = numbers.between(0, 1, "marker by itself")[:, 0, 0] < FINDINGS[place].prevalence
        return torch.where(follows, labels[:, place], by_itself)


def _check_marker(marker: object) -> None:
    if marker is None:
        return
    check_at_least(marker, 0, "marker")  # type: ignore[arg-type]
    if marker > 1:  # type: ignore[operator]
        raise ValueError(f"Expected `marker`, a correlation, to be in [0, 1], but got {marker}.")
