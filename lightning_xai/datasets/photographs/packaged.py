"""Where photographs lie in packages, and which class of ImageNet each shows."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.datasets.pictures import read_picture

UNLABELLED = -1
"""Class of what is none of ImageNet's."""


class Packaged(NamedTuple):
    """A photograph in a package.

    Attributes:
        file: Path of the file, beginning with the package's name.
        label: Class of ImageNet-1k that it shows, by the sorted synsets, as torchvision counts; `UNLABELLED` for none.
    """

    file: str
    label: int = UNLABELLED


PHOTOGRAPHS = {
    "astronaut": Packaged("skimage/data/astronaut.png"),
    "chelsea": Packaged("skimage/data/chelsea.png", 285),  # Egyptian cat; tabby (281) and tiger cat (282) are as right
    "coffee": Packaged("skimage/data/coffee.png", 967),  # espresso
    "rocket": Packaged("skimage/data/rocket.jpg", 657),  # missile
    "motorcycle": Packaged("skimage/data/motorcycle_left.png", 665),  # moped: ImageNet has no motorcycle
    "china": Packaged("sklearn/datasets/images/china.jpg", 698),  # palace
    "flower": Packaged("sklearn/datasets/images/flower.jpg"),  # a dahlia
    "grace_hopper": Packaged("matplotlib/mpl-data/sample_data/grace_hopper.jpg", 652),  # military uniform
    "camera": Packaged("skimage/data/camera.png", 872),  # tripod
    "coins": Packaged("skimage/data/coins.png"),
    "retina": Packaged("skimage/data/retina.jpg"),
    "immunohistochemistry": Packaged("skimage/data/ihc.png"),
    "hubble_deep_field": Packaged("skimage/data/hubble_deep_field.jpg"),
}
"""Name -> photograph, in a fixed order."""

TEXTURES = {
    "brick": Packaged("skimage/data/brick.png"),
    "grass": Packaged("skimage/data/grass.png"),
    "gravel": Packaged("skimage/data/gravel.png"),
    "immunohistochemistry": PHOTOGRAPHS["immunohistochemistry"],
    "hubble_deep_field": PHOTOGRAPHS["hubble_deep_field"],
}
"""Photographs that show no object."""


def read_packaged(name: str) -> Tensor:
    """Return the pixels of a photograph, uint8 (3, H, W); gray ones have three equal channels.

    Raises:
        ModuleNotFoundError: If the package that brings it is not installed.
        FileNotFoundError: If the package is, without the file.
        ValueError: If there is no photograph of this name.
    """
    known = {**TEXTURES, **PHOTOGRAPHS}
    check_choice(name, tuple(known), "name")
    package, _, file = known[name].file.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"Expected {package}, which brings the photograph {name!r}, but it is not installed: "
            "pip install 'lightning-xai[studies]'"
        )
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise FileNotFoundError(f"Expected {package} to bring the photograph {name!r}, but there is no {path}.")
    return read_picture(path)
