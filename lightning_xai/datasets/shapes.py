"""Procedural images of shapes: something to train on and to explain, at once and anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, TypedDict

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from lightning_xai._checks import check_choice
from lightning_xai.datasets.badge import choose_badge_classes, draw_badges
from lightning_xai.datasets.drawing import DIFFICULTIES, HUES, draw_scenes
from lightning_xai.datasets.outlines import OUTLINES

_RADII = (0.08, 0.22)  # smaller ones have no shape on small images, larger ones do not fit between the badges

NUM_CYCLES = 8
"""Images are drawn in blocks of this many times `num_classes`."""


class ShapesSample(TypedDict):
    """One item of `ShapesDataset`; the default collate function makes batches of them.

    Attributes:
        image: float32 of shape (3, S, S) in [0, 1].
        label: Index into `ShapesDataset.classes`.
        mask: bool of shape (S, S), True where the centre of a pixel lies on the object.
        box: int64 of shape (4,): x1, y1, x2, y2 in pixels; x2 and y2 are exclusive, so that the width is x2 - x1.
    """

    image: Tensor
    label: int
    mask: Tensor
    box: Tensor


class ShapesDataset(Dataset[ShapesSample]):
    """Images of one shape each on a cluttered background, with its class, its mask and its box.

    Nothing is downloaded: the images are drawn when the dataset is made. Only the shape tells the class; colours,
    place, rotation and area are drawn without looking at it. Every `num_classes` images hold each class once, shuffled.
    With ``cue="colour"`` it is the other way round: every object is a circle, and only its colour tells the class.

    A **shortcut** can be planted: a badge of S // 8 pixels in a random corner, its colour stands for a class. It agrees
    with the label with probability `shortcut` and otherwise shows another class, all equally likely. A model trained
    with 0.95 reads the badge; at `1 / num_classes` the badge says nothing, and validation shows what is known about
    shapes. Badges never cover the object, and the rest of the image is the same without them.

    Image i does not depend on `num_images`: a short dataset is the beginning of a longer one. Different seeds give
    different images. The global random state is neither read nor changed.

    Args:
        num_images: Number of images N.
        image_size: Side S of the images in pixels, at least 32.
        num_classes: Number of shapes, from 2 to 8: circle, square, triangle, cross, ring, star, crescent, heart; of
            colours: red, green, blue, yellow, cyan, magenta, orange, violet.
        difficulty: "easy", "medium" or "hard": more clutter, texture and noise, less contrast, smaller objects.
        shortcut: Probability that the badge agrees with the label, in [0, 1]; None for no badges.
        seed: Seed of all randomness, from 0 to 2**32 - 1.
        cue: What tells the class: "shape" or "colour".
        radius: Smallest and largest size of the object: radius of the disc with its area, as a fraction of S, each from
            0.08 to 0.22; None for what belongs to `difficulty`. The smaller the objects, the farther from the centre
            they may lie: at 0.08 the centre of the image is on one of ten, at 0.2 on nearly all.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or badges, which are colours, are to stand beside colours.

    Example:
        >>> dataset = ShapesDataset(num_images=6, num_classes=3)
        >>> dataset.classes, dataset.labels.bincount()
        (('circle', 'square', 'triangle'), tensor([2, 2, 2]))
        >>> sample = dataset[0]
        >>> sample["image"].shape, sample["mask"].shape, sample["box"].shape
        (torch.Size([3, 64, 64]), torch.Size([64, 64]), torch.Size([4]))
    """

    classes: tuple[str, ...]
    """Names of the classes."""
    images: Tensor
    """All images, uint8 of shape (N, 3, S, S)."""
    labels: Tensor
    """Classes of the objects, int64 of shape (N,)."""
    masks: Tensor
    """Where the objects are, bool of shape (N, S, S)."""
    boxes: Tensor
    """Smallest boxes around the masks, int64 of shape (N, 4), as in `ShapesSample`."""
    badge_classes: Tensor
    """Classes that the badges stand for, int64 of shape (N,); -1 where there is no badge."""
    badge_masks: Tensor
    """Where the badges are, bool of shape (N, S, S)."""

    def __init__(
        self,
        num_images: int = 512,
        image_size: int = 64,
        num_classes: int = 4,
        difficulty: Literal["easy", "medium", "hard"] = "medium",
        shortcut: float | None = None,
        seed: int = 0,
        cue: Literal["shape", "colour"] = "shape",
        radius: tuple[float, float] | None = None,
    ) -> None:
        _check_integer("num_images", num_images, 1, 2**31 - 1, "as many as are to be drawn")
        _check_integer("image_size", image_size, 32, 4096, "in pixels: shapes need room")
        _check_integer("num_classes", num_classes, 2, len(OUTLINES), "the number of shapes")
        _check_integer("seed", seed, 0, 2**32 - 1, "what a torch generator tells apart")
        _check_difficulty(difficulty)
        _check_shortcut(shortcut)
        check_choice(cue, ("shape", "colour"), "cue")
        _check_radius(radius)
        if cue == "colour" and shortcut is not None:
            raise ValueError(
                "Expected `shortcut` with cue='shape' only, because badges tell classes by their colours, but got "
                f"{shortcut}."
            )
        self.image_size, self.num_classes, self.seed = image_size, num_classes, seed
        self.difficulty, self.shortcut, self.cue, self.radius = difficulty, shortcut, cue, radius
        names = [outline.name for outline in OUTLINES] if cue == "shape" else list(HUES)
        self.classes = tuple(names[:num_classes])
        scenes = Generator().manual_seed(seed)
        # A stream of its own for the badges: with and without them, the rest of the image is the same.
        badges = Generator().manual_seed(int(torch.randint(2**32, (), generator=scenes)))
        # One generator runs through whole blocks of fixed size: this is what makes image i independent of `num_images`.
        num_blocks = -(-num_images // (NUM_CYCLES * num_classes))
        with one_thread():
            blocks = [self._draw_block(scenes, badges) for _ in range(num_blocks)]
        parts = (torch.cat(part)[:num_images] for part in zip(*blocks, strict=True))
        self.images, self.labels, self.masks, self.badge_classes, self.badge_masks = parts
        self.boxes = boxes_around(self.masks)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> ShapesSample:
        return {
            "image": self.images[index] / 255,
            "label": int(self.labels[index]),
            "mask": self.masks[index].clone(),
            "box": self.boxes[index].clone(),
        }

    def _draw_block(self, scenes: Generator, badges: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        labels = torch.rand(NUM_CYCLES, self.num_classes, generator=scenes).argsort(dim=1).flatten()
        hues = None if self.cue == "shape" else torch.tensor([*HUES.values()])[labels]
        shapes = labels if hues is None else torch.zeros_like(labels)
        look = DIFFICULTIES[self.difficulty]
        if self.radius is not None:
            look = replace(look, radius=self.radius)
        images, masks = draw_scenes(shapes, self.image_size, look, scenes, hues)
        badge_classes, badge_masks = torch.full_like(labels, -1), torch.zeros_like(masks)
        if self.shortcut is not None:
            badge_classes = choose_badge_classes(labels, self.num_classes, self.shortcut, badges)
            images, badge_masks = draw_badges(images, badge_classes, self.num_classes, badges)
        return (255 * images).round().to(torch.uint8), labels, masks, badge_classes, badge_masks


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread for a while: many small operations wait for busy cores longer than they work."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def boxes_around(masks: Tensor) -> Tensor:
    """Return the smallest boxes around masks that are nowhere empty.

    Args:
        masks: bool of shape (N, height, width), each with at least one True.

    Returns:
        Boxes, int64 of shape (N, 4): x1, y1, x2, y2 in pixels, x2 and y2 exclusive.
    """
    ends = []
    for occupied in (masks.any(dim=1).int(), masks.any(dim=2).int()):
        first, last = occupied.argmax(dim=1), occupied.shape[1] - occupied.flip(1).argmax(dim=1)
        ends.append(torch.stack([first, last]))
    (x1, x2), (y1, y2) = ends
    return torch.stack([x1, y1, x2, y2], dim=1)


def _check_integer(name: str, value: object, lowest: int, highest: int, why: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"Expected `{name}` to be an integer, but got {value!r} of type {type(value).__name__}.")
    if not lowest <= value <= highest:
        raise ValueError(f"Expected `{name}` to be between {lowest} and {highest} ({why}), but got {value}.")


def _check_difficulty(difficulty: object) -> None:
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"Expected `difficulty` to be one of {', '.join(DIFFICULTIES)}, but got {difficulty!r}.")


def _check_shortcut(shortcut: object) -> None:
    if shortcut is None:
        return
    if isinstance(shortcut, bool) or not isinstance(shortcut, int | float):
        raise TypeError(f"Expected `shortcut` to be a probability or None (no badge), but got {shortcut!r}.")
    if not 0 <= shortcut <= 1:
        raise ValueError(
            "Expected `shortcut`, the probability that the badge agrees with the label, to be in [0, 1], "
            f"but got {shortcut}."
        )


def _check_radius(radius: object) -> None:
    if radius is None:
        return
    if not isinstance(radius, tuple | list) or len(radius) != 2:
        raise TypeError(f"Expected `radius` to be a pair (smallest, largest) or None, but got {radius!r}.")
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in radius):
        raise TypeError(f"Expected `radius` to hold two numbers, but got {radius!r}.")
    least, largest = _RADII
    if not least <= radius[0] <= radius[1] <= largest:
        raise ValueError(
            f"Expected `radius` to be two fractions of the image's side from {least} to {largest}, the smaller one "
            f"first, but got {radius!r}."
        )
