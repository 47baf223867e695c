"""Where to look: the automatic target layer, found in one forward pass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_choice
from lightning_xai.model.attention import common_grid
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.explicit_attention import ExplicitAttention
from lightning_xai.model.module import named_layers
from lightning_xai.model.preserved import preserved
from lightning_xai.model.trace import CapturePoint, LayerOutput, Trace

_log = logging.getLogger(__name__)

Layer: TypeAlias = str | nn.Module

_found: WeakKeyDictionary[nn.Module, dict[Any, CapturePoint]] = WeakKeyDictionary()
_transformers: WeakSet[nn.Module] = WeakSet()


def capture_points(classifier: Classifier, layer: Layer | Sequence[Layer], images: Tensor) -> list[CapturePoint]:
    """Return where each of ``layer`` is captured.

    Args:
        classifier: The model.
        layer: ``"auto"``, a dotted name, a module of the model, or a list of these.
        images: (N, C, H, W); ``"auto"`` runs the first one, once per model and size of the images.

    Raises:
        ValueError: If a name or module is not part of the model, or ``"auto"`` finds no spatial tensor.
    """
    layers = [layer] if isinstance(layer, (str, nn.Module)) else list(layer)
    return [_automatic(classifier, images) if item == "auto" else _named(classifier.model, item) for item in layers]


def _named(model: nn.Module, layer: Layer) -> LayerOutput:
    names = named_layers(model)
    if isinstance(layer, str):
        check_choice(layer, [*names, "auto"], "target_layer")
        return LayerOutput(layer)
    inner = getattr(layer, "_orig_mod", layer)
    for name, module in names.items():
        if module is inner:
            return LayerOutput(name)
    raise ValueError(f"Expected `target_layer` to be part of the model, but {type(inner).__name__} is not.")


def _automatic(classifier: Classifier, images: Tensor) -> CapturePoint:
    known = _found.setdefault(classifier.model, {})
    key = (images.shape[1:], classifier.readout.forward)  # small images leave one place where large ones leave a grid
    if key not in known:
        known[key] = _search(classifier, images[:1].clone())
        _log.info("target_layer='auto' picked %s of %s.", known[key], type(classifier.model).__name__)
    return known[key]


def attends_globally(model: nn.Module) -> bool:
    """Return whether all attention of ``model`` was over one grid of tokens when ``"auto"`` looked, as in a ViT."""
    return model in _transformers


def forget(model: nn.Module) -> None:
    """Forget the automatic choice for ``model``, whose structure changed."""
    _found.pop(model, None)
    _transformers.discard(model)


def _search(classifier: Classifier, image: Tensor) -> CapturePoint:
    trace, explicit = Trace(image), ExplicitAttention()
    with preserved(classifier.model), torch.no_grad(), ExitStack() as stack:
        for name, module in named_layers(classifier.model).items():
            stack.callback(module.register_forward_pre_hook(trace.entering(name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(trace.leaving(name)).remove)
        stack.enter_context(explicit)  # below the trace, which sees the operations that the model calls
        stack.enter_context(trace)
        classifier.forward(image)
    if common_grid(explicit.found, image) is not None:
        _transformers.add(classifier.model)
    point = trace.choice()
    if point is None:
        raise ValueError(
            f"Expected {type(classifier.model).__name__} to hold feature maps that it convolves, pools or flattens, or "
            "to use attention, for target_layer='auto', but one forward pass showed none of these. Name a layer: "
            f"{', '.join(list(named_layers(classifier.model))[-8:]) or 'the model has no submodules'}."
        )
    return point
