"""Transforms by alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_xai._registry import Registry

if TYPE_CHECKING:
    from lightning_xai.comparison.transforms.transform import Transform

TRANSFORMS: Registry[Transform] = Registry(
    "transform",
    "lightning_xai.comparison.transforms",
    "lightning_xai.comparison.transforms.transform:Transform",
    {
        "alpha_scaling": "alpha_scaling:AlphaScaling",
        "coarsening": "coarsening:Coarsening",
        "crop": "crop:Crop",
        "fgsm": "fgsm:FGSM",
        "gaussian_noise": "gaussian_noise:GaussianNoise",
        "input_shift": "input_shift:InputShift",
        "mix_up": "mix_up:MixUp",
        "one_pixel": "one_pixel:OnePixel",
        "resize": "resize:Resize",
        "rotation": "rotation:Rotation",
    },
)
"""The one list of transforms; names, stubs and documentation are derived from it."""


def list_transforms() -> list[str]:
    """Return the aliases of the transforms, sorted.

    Example:
        >>> list_transforms()[:4]
        ['alpha_scaling', 'coarsening', 'crop', 'fgsm']
    """
    return TRANSFORMS.names()


def get_transform(name: str, **settings: Any) -> Transform:
    """Return a new transform by its alias.

    Args:
        name: One of `list_transforms`.
        **settings: Arguments of its constructor.

    Raises:
        ValueError: If the alias is unknown; lists the known ones and the nearest match.

    Example:
        >>> get_transform("rotation", degrees=15)
        Rotation(degrees=15, fill=0.0)
    """
    transform: Transform = TRANSFORMS.make(name, **settings)
    return transform
