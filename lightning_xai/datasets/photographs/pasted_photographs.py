"""Objects of photographs pasted onto other photographs: for networks of ImageNet, with masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_xai._checks import check_choice, check_count
from lightning_xai._randomness import uniform
from lightning_xai.datasets.photographs.cutouts import OUTLINES, Cutout, cut_out
from lightning_xai.datasets.photographs.packaged import PHOTOGRAPHS, TEXTURES, read_packaged
from lightning_xai.datasets.photographs.sample_photographs import square_of
from lightning_xai.datasets.shapes import boxes_around

_LENGTHS = (0.6, 0.95)  # of an object's longer side, least and greatest share of the image
_LEAST_BACKGROUND = 0.6  # of the photograph's short side that a background shows
_NUM_DRAWN = 8


class PastedSample(TypedDict):
    """One item of `PastedPhotographs`; the default collate function makes batches of them.

    Attributes:
        image: float32 of shape (3, S, S) in [0, 1].
        label: Class of ImageNet-1k of the object; -1 for the dahlia, which ImageNet does not know.
        mask: bool of shape (S, S), True on the object.
        box: int64 of shape (4,): x1, y1, x2, y2 in pixels; x2 and y2 are exclusive, so that the width is x2 - x1.
        background: Name of the photograph below; `ExplanationMonitor(groups="background")` reads it.
        id: Such as ``"00012-coffee"``: index and object.
    """

    image: Tensor
    label: int
    mask: Tensor
    box: Tensor
    background: str
    id: str


class PastedPhotographs(Dataset[PastedSample]):
    """Six objects, each cut out of its photograph and pasted at a random place in a random size onto another one.

    Localization on a network with ImageNet weights, without a download: a cat's head, a cup of espresso, a
    motorcycle, a palace, a dahlia and an officer in uniform were cut out along outlines drawn by hand. An object is 60
    to 95 % as long as the image, half of them are mirrored, and its edge is anti-aliased; the mask is where at least
    half of a pixel's light is the object's. Objects take turns: every six images hold each of them once.

    Image i depends on the settings and i alone: a short data set is the beginning of a longer one. The global random
    state is neither read nor changed. Six objects are few: images of one object resemble each other.

    Args:
        num_images: Number of images N.
        image_size: Side S of the images in pixels, at least 32.
        objects: Of `OUTLINES`; all if None.
        backgrounds: ``"textures"``: bricks, grass, gravel, tissue and galaxies, which show no object;
            ``"photographs"``: those of the other objects, so that each image has two, of which one is marked and is
            the label.
        seed: Of places, sizes and backgrounds.

    Attributes:
        labels: Classes of the objects, int64 of shape (N,).

    Raises:
        ModuleNotFoundError: If scikit-image or scikit-learn is not installed.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or an object is unknown.

    Example:
        >>> pasted = PastedPhotographs(4, 64, objects=["coffee", "flower"])
        >>> pasted.labels, pasted[1]["id"], pasted[1]["mask"].shape
        (tensor([967,  -1, 967,  -1]), '00001-flower', torch.Size([64, 64]))
    """

    def __init__(
        self,
        num_images: int = 60,
        image_size: int = 224,
        objects: Sequence[str] | None = None,
        backgrounds: Literal["textures", "photographs"] = "textures",
        seed: int = 0,
    ) -> None:
        check_count(num_images, "num_images")
        check_count(image_size, "image_size", least=32)
        check_count(seed, "seed", least=0)
        check_choice(backgrounds, ("textures", "photographs"), "backgrounds")
        self.num_images, self.image_size, self.seed = num_images, image_size, seed
        self.backgrounds = backgrounds
        self.objects = tuple(OUTLINES if objects is None else objects)
        check_count(len(self.objects), "number of objects")
        for name in self.objects:
            check_choice(name, tuple(OUTLINES), "objects")
        for name in (*self.objects, *TEXTURES, *OUTLINES):
            _photograph(name)  # whatever is missing is told at once
        self.labels = torch.tensor([PHOTOGRAPHS[self._object(index)].label for index in range(num_images)])

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> PastedSample:
        index = range(self.num_images)[index]  # from the end too, and IndexError beyond
        name = self._object(index)
        drawn: list[float] = uniform(torch.tensor([index]), (_NUM_DRAWN,), seed=self.seed, purpose="pasted")[0].tolist()
        others = list(TEXTURES) if self.backgrounds == "textures" else [one for one in OUTLINES if one != name]
        background = others[int(drawn[0] * len(others))]
        below = _random_square(_photograph(background), drawn[1:4], self.image_size)
        image, mask = _pasted(_object_of(name), below, drawn[4:])
        return {
            "image": image,
            "label": int(self.labels[index]),
            "mask": mask,
            "box": boxes_around(mask[None])[0],
            "background": background,
            "id": f"{index:05d}-{name}",
        }

    def _object(self, index: int) -> str:
        return self.objects[index % len(self.objects)]


_photograph = cache(read_packaged)
_object_of = cache(cut_out)


def _random_square(pixels: Tensor, drawn: list[float], size: int) -> Tensor:
    """Return a square of a photograph as an image (3, size, size); drawn says how wide and where."""
    height, width = pixels.shape[1:]
    side = round((_LEAST_BACKGROUND + (1 - _LEAST_BACKGROUND) * drawn[0]) * min(height, width))
    top, left = int(drawn[1] * (height - side + 1)), int(drawn[2] * (width - side + 1))
    return square_of(pixels[:, top : top + side, left : left + side], size)


def _pasted(cutout: Cutout, below: Tensor, drawn: list[float]) -> tuple[Tensor, Tensor]:
    """Return an image (3, S, S) with an object on it, and where it is, bool (S, S); drawn: length, y, x, mirrored."""
    size = below.shape[-1]
    length = (_LENGTHS[0] + (_LENGTHS[1] - _LENGTHS[0]) * drawn[0]) * size
    height, width = (max(1, round(side * length / max(cutout.mask.shape))) for side in cutout.mask.shape)
    opacity = cutout.mask.float()[None]
    # what lies beside the object has no weight in its edge
    layers = torch.cat([cutout.pixels / 255 * opacity, opacity])
    layers = layers.flip(2) if drawn[3] < 0.5 else layers
    small = F.interpolate(layers[None], size=(height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)
    top, left = int(drawn[1] * (size - height + 1)), int(drawn[2] * (size - width + 1))
    image, mask = below.clone(), torch.zeros(size, size, dtype=torch.bool)
    place = slice(top, top + height), slice(left, left + width)
    image[:, place[0], place[1]] = small[:3] + (1 - small[3]) * image[:, place[0], place[1]]
    mask[place] = small[3] >= 0.5
    return image.clamp(0, 1), mask
