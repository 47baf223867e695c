"""Which layers of a network can be explained: those whose output has space."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xai.comparison.records import Records
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.search import capture_points
from lightning_xai.model.preserve import preserved


def layers_of(model: nn.Module, image_size: tuple[int, ...] = (3, 224, 224)) -> Records:
    """Return the layers whose output has space, in the order in which they run, and what ``target_layer="auto"`` takes.

    Args:
        model: Left as it was.
        image_size: (C, H, W) of its images; the layers see random ones.
    """
    images = torch.rand(2, *image_size, generator=torch.Generator().manual_seed(0))
    classifier = Classifier(model)
    shapes = _shapes(classifier, images)
    rows = [
        (name, kind, " × ".join(map(str, shape)))
        for name, (kind, shape) in shapes.items()
        if len(shape) in (2, 3) and max(shape[-2:]) > 1 and min(shape) > 0 and name
    ]
    return Records(
        ("layer", "class", "output of one image"), tuple(rows), type(model).__name__, (_auto(classifier, images),)
    )


def _auto(classifier: Classifier, images: Tensor) -> str:
    log = logging.getLogger("lightning_xai")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        (point,) = capture_points(classifier, "auto", images[:1])
    except ValueError as error:
        return str(error)
    finally:
        log.setLevel(level)
    return f'target_layer="auto" takes {point}.'


def _shapes(classifier: Classifier, images: Tensor) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the class of each layer that ran, and the shape of what it returned for one image, in their order."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}

    def noting(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim > 1 and len(output) == len(images):
                found[name] = (type(module).__name__, tuple(output.shape[1:]))

        return note

    with preserved(classifier.model):
        handles = [one.register_forward_hook(noting(name)) for name, one in classifier.model.named_modules()]
        try:
            classifier.logits(images)
        finally:
            for handle in handles:
                handle.remove()
    return found
