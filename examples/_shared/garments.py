"""Fashion-MNIST garments on cluttered canvases, so that it is known where the object is."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.ops import masks_to_boxes

CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
CANVAS = 64
SIDES = (28, 46)  # of a garment on its canvas, in pixels
FAINT = 0.05  # darker pixels belong to no garment
NUM_SCRAPS, SCRAP = 8, 10  # pieces of other garments on every canvas, and their side in pixels


class Garment(TypedDict):
    """One item: ``image`` (3, 64, 64) in [0, 1], ``label``, ``mask`` (64, 64) and its ``box`` x0, y0, x1, y1."""

    image: Tensor
    label: int
    mask: Tensor
    box: Tensor


class GarmentsOnCanvas(Dataset[Garment]):
    """Each garment at a random place in a random size, among scraps of other garments.

    Args:
        folder: Holds the IDX files of Fashion-MNIST, compressed or not.
        split: ``"train"`` or ``"t10k"``, as the files are called.
        limit: Number of images, from the first on.
        seed: Of places, sizes and scraps.
    """

    def __init__(self, folder: Path, split: str, limit: int, seed: int = 0) -> None:
        garments = read_idx(folder, f"{split}-images-idx3-ubyte")[:limit].float() / 255
        self.labels = read_idx(folder, f"{split}-labels-idx1-ubyte")[:limit].long()
        pairs = list(canvases(garments, Generator().manual_seed(seed)))
        self.images = torch.stack([image for image, _ in pairs])
        self.masks = torch.stack([mask for _, mask in pairs])
        self.boxes = masks_to_boxes(self.masks) + torch.tensor([0, 0, 1, 1])  # the far edges are exclusive here

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Garment:
        return {
            "image": self.images[index].expand(3, -1, -1),
            "label": int(self.labels[index]),
            "mask": self.masks[index],
            "box": self.boxes[index],
        }


def read_idx(folder: Path, name: str) -> Tensor:
    """Return an IDX file of bytes as uint8, of the shape that its header tells."""
    plain, packed = folder / name, folder / f"{name}.gz"
    content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    return torch.from_numpy(values.copy()).reshape(tuple(int(side) for side in shape))


def canvases(garments: Tensor, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a canvas (64, 64) and a mask (64, 64) for each of the garments (N, 28, 28) in [0, 1]."""
    for garment in garments:
        coarse = torch.rand(1, 1, 5, 5, generator=generator)
        canvas = 0.4 * F.interpolate(coarse, size=(CANVAS, CANVAS), mode="bicubic").clamp(0, 1)[0, 0]
        for other in garments[torch.randint(len(garments), (NUM_SCRAPS,), generator=generator)]:
            _crop(canvas, SCRAP, generator).copy_(_crop(other, SCRAP, generator))
        side = int(torch.randint(*SIDES, (), generator=generator))
        layers = torch.stack([garment, (garment > FAINT).float()])[None]
        enlarged, opacity = F.interpolate(layers, size=(side, side), mode="bilinear", antialias=True)[0]
        mask = torch.zeros(CANVAS, CANVAS, dtype=torch.bool)
        y, x = torch.randint(CANVAS - side + 1, (2,), generator=generator).tolist()
        place = slice(y, y + side), slice(x, x + side)
        canvas[place] = torch.lerp(canvas[place], enlarged, opacity)
        mask[place] = opacity > 0.5
        yield canvas, mask


def _crop(picture: Tensor, side: int, generator: Generator) -> Tensor:
    """Return a square of ``picture`` from a random place, as a view."""
    y, x = (int(torch.randint(length - side + 1, (), generator=generator)) for length in picture.shape)
    return picture[y : y + side, x : x + side]
