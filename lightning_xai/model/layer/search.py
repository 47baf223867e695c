"""Where to look: the automatic target layer, found by two forward passes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_choice
from lightning_xai.model.attention.explicit_attention import ExplicitAttention, common_grid
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.candidates import Candidate, Candidates
from lightning_xai.model.layer.capture import hooked_forward
from lightning_xai.model.layer.exchange import Exchange, two_images
from lightning_xai.model.layer.forward_graph import ForwardGraph
from lightning_xai.model.layer.points import CapturePoint, LayerInput, LayerOutput
from lightning_xai.model.preserve import preserved, random_states
from lightning_xai.model.readout import named_layers
from lightning_xai.model.restore.attributes import attributes
from lightning_xai.model.restore.tensors import together

_log = logging.getLogger(__name__)

Layer: TypeAlias = str | nn.Module

_MOST = 8  # candidates that are tried
_FEW_PLACES = 16

_ROUNDING = 1e-6

_automatic_points: WeakKeyDictionary[nn.Module, dict[Any, CapturePoint]] = WeakKeyDictionary()
_calls_of_images: WeakKeyDictionary[nn.Module, dict[Any, CapturePoint]] = WeakKeyDictionary()
_looked_at: WeakKeyDictionary[nn.Module, dict[torch.Size, Tensor]] = WeakKeyDictionary()
_transformers: WeakSet[nn.Module] = WeakSet()
_doubted: WeakSet[nn.Module] = WeakSet()


def capture_points(classifier: Classifier, layer: Layer | Sequence[Layer], images: Tensor) -> list[CapturePoint]:
    """Return where each of ``layer`` is captured.

    Args:
        classifier: The model.
        layer: ``"auto"``, a dotted name, a module of the model, or a list of these.
        images: (N, C, H, W); ``"auto"`` runs the first one, or that of `look_at`, and a copy with its pixels shuffled,
            once to see what there is and once per candidate, mostly one, for each model and size of the images. These
            are no evaluations.

    Raises:
        ValueError: If a name or module is not part of the model, or ``"auto"`` finds no tensor with
            space through which all goes that the logits depend on.
    """
    layers = [layer] if isinstance(layer, (str, nn.Module)) else list(layer)
    points = [_automatic(classifier, images) if item == "auto" else _named(classifier.model, item) for item in layers]
    return [_of_the_image(classifier, point, images) for point in points] if classifier.has_extra else points


def look_at(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Let ``"auto"`` look at these images, whichever is explained first.

    So processes that explain different images choose alike, also where the graph of the model depends on the image.

    Args:
        model: Whose layers are chosen.
        images: (C, H, W); of each size the first that was ever passed for the model counts.
    """
    known = _looked_at.setdefault(model, {})
    for image in images:
        known.setdefault(image.shape, image)


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
    known = _automatic_points.setdefault(classifier.model, {})
    key, image = _image_of_choice(classifier, images)
    if key not in known:
        chosen = _search(classifier, image)
        if known.get((*key[:2], False)) != chosen.point:
            _log.info("target_layer='auto' picked %s of %s.", chosen.point, type(classifier.model).__name__)
        known[key] = chosen.point
        _doubt(classifier.model, chosen)
    return known[key]


def _image_of_choice(classifier: Classifier, images: Tensor) -> tuple[tuple[Any, ...], Tensor]:
    """Return by what a choice is known, and the image (1, C, H, W) that it is made by.

    Size is part of it, because small images leave one place where large ones leave a grid.
    """
    size = images.shape[1:]
    image = _looked_at.get(classifier.model, {}).get(size)
    key = (size, classifier.readout.forward, image is not None)
    return key, images[:1] if image is None else image[None].to(images)


def _of_the_image(classifier: Classifier, point: CapturePoint, images: Tensor) -> CapturePoint:
    """Return ``point`` in that call of its layer that sees the image, where the layer also sees another view."""
    if not isinstance(point, (LayerOutput, LayerInput)):
        return point
    known = _calls_of_images.setdefault(classifier.model, {})
    key, image = _image_of_choice(classifier, images)
    key = (point, *key)
    if key not in known:
        differences = _Differences()
        with preserved(classifier.model), torch.no_grad():
            pair = classifier.rows(torch.zeros(2, dtype=torch.int64))  # two images that come with the same
            hooked_forward(pair, two_images(image), point, differences, counted=False)
        seen = [call for call, differs in enumerate(differences.by_call, 1) if differs]
        known[key] = replace(point, call=seen[-1]) if len(seen) < differences.calls and seen else point
    return known[key]


@dataclass
class _Differences:
    """Whether a tensor differs between two images, at each call of a capture point."""

    by_call: list[bool] = field(default_factory=list)
    calls: int = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        gap = float((tensor[0].float() - tensor[-1].float()).abs().max()) if tensor.numel() else 0.0
        self.calls += 1
        self.by_call.append(gap > _ROUNDING * float(tensor.abs().max()))
        return tensor


def attends_globally(model: nn.Module) -> bool:
    """Return whether all attention of ``model`` was over one grid of tokens when ``"auto"`` looked, as in a ViT."""
    return model in _transformers


def forget(model: nn.Module) -> None:
    """Forget the automatic choice for ``model``, and what it was made by."""
    _looked_at.pop(model, None)
    _automatic_points.pop(model, None)
    _calls_of_images.pop(model, None)
    _transformers.discard(model)
    _doubted.discard(model)


def _doubt(model: nn.Module, chosen: Candidate) -> None:
    """Say once per model if the choice shows little."""
    height, width = chosen.grid
    doubts = []
    if chosen.share_after > 0.5:
        doubts.append(f"comes before {chosen.share_after:.0%} of the layers that compute maps")
    if height * width < _FEW_PLACES:
        doubts.append(f"holds only {height} x {width} places")
    if doubts and model not in _doubted:
        _doubted.add(model)
        _log.warning(
            "target_layer='auto' picked %s of %s, which %s: heatmaps will show little. Name another layer, or use "
            "larger images.", chosen.point, type(model).__name__, " and ".join(doubts),
        )  # fmt: skip


def _search(classifier: Classifier, images: Tensor) -> Candidate:
    pair = two_images(images)
    classifier = classifier.rows(torch.zeros(2, dtype=torch.int64))  # both come with what the first comes with
    with preserved(classifier.model), torch.no_grad():
        graph, explicit = ForwardGraph(watched := pair.clone()), ExplicitAttention()
        # a model that draws shall draw the same again, also from generators of its own
        restart = together([random_states(), attributes(list(classifier.model.modules()))])
        with graph.watching(named_layers(classifier.model)), explicit, graph:  # the graph sees what the model calls
            logits = classifier.forward_uncounted(watched)
        of_images_only = len(graph.attentions) == len(explicit.weights)
        if of_images_only and common_grid(explicit.weights, pair) is not None:
            _transformers.add(classifier.model)
        last = graph.index_of(logits)
        found = [] if last is None else list(islice(Candidates(graph, last, (pair.shape[2], pair.shape[3])), _MOST))
        chosen = _first_that_carries_all(found, Exchange(classifier, pair, logits), restart)
    if chosen is None:
        raise ValueError(
            f"Expected all that the logits of {type(classifier.model).__name__} depend on to come past one tensor with "
            "space (feature maps, or tokens that fill a grid) for target_layer='auto', but one forward pass showed "
            f"none. Name a layer, or several: {', '.join(list(named_layers(classifier.model))[-8:]) or 'it has none'}."
        )
    return chosen


def _first_that_carries_all(
    candidates: list[Candidate], exchange: Exchange, restart: Callable[[], None]
) -> Candidate | None:
    """Return the first of which that can be shown; the first of all where nothing can be shown."""
    if not exchange.informative:
        return next(iter(candidates), None)
    for candidate in candidates:
        restart()
        carrier = exchange.carrier(candidate)
        if carrier is not None:
            return carrier
    restart()
    return None if exchange.of_images_exchanges_logits() else next(iter(candidates), None)
