"""What decides a number, as a short word: weights, images, settings, and the versions of what computes it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xai._settings import Configured, in_words, setting_names
from lightning_xai.comparison.images import ComparedImages
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.readout import Readout
from lightning_xai.probing.probe import Item

_BYTES = 16
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_OF_OTHERS = ("torch.", "torchvision.", "timm.", "transformers.", "lightning_xai.")


def fingerprint(*parts: Any) -> str:
    """Return a word of 32 characters that differs where a part does: plain values, tensors, or collections of these."""
    hashed = blake2b(digest_size=_BYTES)
    for piece in _pieces(parts):
        hashed.update(len(piece).to_bytes(8, "little"))
        hashed.update(piece)
    return hashed.hexdigest()


def of_model(model: nn.Module, readout: Readout | None) -> str:
    """Return the fingerprint of a network: its parts and their settings, its weights, its own code, how it is read.

    Of functions that its code calls only the code of the module's classes is seen.
    """
    own = {type(part) for part in model.modules()}
    code = sorted(filter(None, map(_code, own)))
    how = {name: in_words(value) for name, value in vars(readout or Readout()).items()}
    return fingerprint(_ADDRESS.sub("", repr(model)), how, code, dict(model.state_dict()))


def of_images(images: ComparedImages) -> str:
    """Return the fingerprint of images, every pixel of them, and of all that is known about each."""
    items = [_known(item) for item in images.probe.items]
    return fingerprint(images.probe.labels, images.probe.value_range, items)


def of_explainer(explainer: Explainer) -> tuple[Any, ...]:
    """Return what decides an explainer's heatmaps beside model, images and class."""
    inner = [value for value in vars(explainer).values() if isinstance(value, Explainer)]
    return (_named(explainer), explainer.numbers_version, explainer.settings(), [of_explainer(one) for one in inner])


def of_metric(metric: ExplanationMetric) -> tuple[Any, ...]:
    """Return what decides a metric's values beside the heatmaps: it, and what it reads."""
    return (_named(metric), metric.numbers_version, metric.settings(), [_of_evidence(one) for one in metric.evidence])


def of_transform(transform: Transform) -> tuple[Any, ...]:
    """Return what decides the images that a transform makes beside what they were, the model and the seed."""
    return (_named(transform), transform.numbers_version, transform.settings())


def check_named(configured: Configured) -> None:
    """Raise TypeError if a setting is a module, which has no name outside of this process and fits one model alone."""
    for name in setting_names(type(configured)):
        value = getattr(configured, name)
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, Explainer):
                check_named(part)
            elif isinstance(part, nn.Module) and not isinstance(part, Configured):
                raise TypeError(
                    f"Expected `{name}` of {type(configured).__name__} as the name of a layer, such as 'layer4', "
                    f"because a comparison is over models and kept in files, but got a {type(part).__name__}."
                )


def _of_evidence(evidence: Evidence[Any]) -> tuple[Any, ...]:
    return (repr(evidence), evidence.numbers_version, [_of_evidence(one) for one in evidence.reads])


def _named(configured: Configured) -> str:
    return f"{type(configured).__module__}.{type(configured).__qualname__}"


def _known(item: Item) -> Mapping[str, Any]:
    """Return all that is known about an image but what readers call it and its group."""
    return {name: value for name, value in vars(item).items() if name not in {"id", "group"}}


def _code(kind: type[Any]) -> str | None:
    """Return the source of a class that is not of a package whose version says what it does; None if unknown."""
    if f"{kind.__module__}.".startswith(_OF_OTHERS):
        return None
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # written in a notebook, or no Python
        return None


def _pieces(value: Any) -> Iterable[bytes]:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        yield f"{plain.dtype}{tuple(plain.shape)}".encode()
        yield plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for name in sorted(value, key=str):
            yield str(name).encode()
            yield from _pieces(value[name])
    elif isinstance(value, (list, tuple)):
        yield f"list {len(value)}".encode()
        for part in value:
            yield from _pieces(part)
    else:
        yield json.dumps(value, default=repr).encode()
