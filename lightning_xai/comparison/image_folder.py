"""Images of a folder, one subfolder per class, with masks of the same names in a folder beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_xai._checks import check_count

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RESIZED = 256 / 224  # the short side before the centre is cut out, as ImageNet networks are validated


class ImageFolder(Dataset[dict[str, Any]]):
    """Images below a folder as networks want them: the short side resized, the centre cut out, normalised.

    ``root/<class>/<name>.jpg``; classes are numbered in the order of their names. Images that lie in ``root`` itself
    have no class: explain ``target="predicted"``. A mask of the annotated object is white (> 127) on black, with the
    same path and name below ``masks``, any ending; an image without one has none marked.

    Args:
        root: The folder.
        masks: Folder of the masks; ``<root>_masks`` if that exists, None for none otherwise.
        image_size: Side of the images that the network gets.
        mean: Of each channel, subtracted from values in [0, 1].
        std: Of each channel, by which they are divided.

    Attributes:
        classes: Names of the classes; empty if images have none.

    Raises:
        ValueError: If the folder holds no image, or a mask has another size than its image.
    """

    def __init__(
        self,
        root: str | Path,
        masks: str | Path | None = None,
        image_size: int = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        check_count(image_size, "image_size")
        self.root = Path(root)
        beside = self.root.with_name(f"{self.root.name}_masks")
        self.masks = Path(masks) if masks is not None else beside if beside.is_dir() else None
        self.image_size = image_size
        self.mean = tuple(mean)
        self.std = tuple(std)
        self._paths = _pictures_below(self.root)
        if not self._paths:
            raise ValueError(f"Expected `root` to hold images ({', '.join(ENDINGS)}), but found none below {root}.")
        folders = sorted({path.relative_to(self.root).parts[0] for path in self._paths if path.parent != self.root})
        self.classes = tuple(folders)
        self._masks = {} if self.masks is None else self._masks_by_place(self.masks)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``image``, ``id``, and where the folder says so ``label`` and ``mask``."""
        path = self._paths[index]
        place = path.relative_to(self.root)
        pixels = _read(path, "RGB")
        image = _centre(pixels, self.image_size, "bilinear")
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        item: dict[str, Any] = {"image": (image - mean) / std, "id": place.as_posix()}
        if self.classes:
            item["label"] = self.classes.index(place.parts[0]) if len(place.parts) > 1 else -1
        if self.masks is not None:
            item["mask"] = self._mask(place, pixels)
        return item

    def _mask(self, place: Path, pixels: Tensor) -> Tensor:
        """Return where the object is, uint8 (S, S), cut as the image is."""
        file = self._masks.get(place.with_suffix(""))
        if file is None:
            return torch.zeros(self.image_size, self.image_size, dtype=torch.uint8)
        mask = (_read(file, "L") > 127 / 255).float()
        if mask.shape[1:] != pixels.shape[1:]:
            raise ValueError(
                f"Expected the mask {file} to have the size of its image, {tuple(pixels.shape[1:])}, but got "
                f"{tuple(mask.shape[1:])}."
            )
        return (_centre(mask, self.image_size, "nearest-exact")[0] > 0.5).to(torch.uint8)

    def _masks_by_place(self, masks: Path) -> dict[Path, Path]:
        return {path.relative_to(masks).with_suffix(""): path for path in _pictures_below(masks)}


def _pictures_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def _read(path: Path, mode: str) -> Tensor:
    """Return a picture's values in [0, 1], float32 (C, H, W)."""
    import numpy as np
    from PIL.Image import open as open_picture

    with open_picture(path) as picture:
        values = torch.from_numpy(np.array(picture.convert(mode)))
    values = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
    return values.float() / 255


def _centre(values: Tensor, side: int, how: str) -> Tensor:
    """Return the centre (C, side, side) of values whose short side was resized to 256/224 of that."""
    short = max(side, round(side * _RESIZED))
    height, width = values.shape[1:]
    scale = short / min(height, width)
    size = (max(short, round(height * scale)), max(short, round(width * scale)))
    resized = F.interpolate(values[None], size=size, mode=how, antialias=how == "bilinear")[0]
    top, left = ((length - side) // 2 for length in size)
    return resized[:, top : top + side, left : left + side]
