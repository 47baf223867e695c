"""Where to look: the automatic target layer, found in one forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_xai._checks import check_choice
from lightning_xai.model.attention.explicit_attention import ExplicitAttention, common_grid
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import CapturePoint, LayerInput, LayerOutput, OperationInput
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import named_layers

_log = logging.getLogger(__name__)

Layer: TypeAlias = str | nn.Module

_automatic_points: WeakKeyDictionary[nn.Module, dict[Any, CapturePoint]] = WeakKeyDictionary()
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
    known = _automatic_points.setdefault(classifier.model, {})
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
    _automatic_points.pop(model, None)
    _transformers.discard(model)


def _search(classifier: Classifier, image: Tensor) -> CapturePoint:
    search, explicit = LayerSearch(image), ExplicitAttention()
    with preserved(classifier.model), torch.no_grad(), ExitStack() as stack:
        for name, module in named_layers(classifier.model).items():
            stack.callback(module.register_forward_pre_hook(search.entering(name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(search.leaving(name)).remove)
        stack.enter_context(explicit)  # below the search, which sees the operations that the model calls
        stack.enter_context(search)
        classifier.forward(image)
    if common_grid(explicit.weights, image) is not None:
        _transformers.add(classifier.model)
    point = search.choice()
    if point is None:
        raise ValueError(
            f"Expected {type(classifier.model).__name__} to hold feature maps that it convolves, pools or flattens, or "
            "to use attention, for target_layer='auto', but one forward pass showed none of these. Name a layer: "
            f"{', '.join(list(named_layers(classifier.model))[-8:]) or 'the model has no submodules'}."
        )
    return point


_POOLS = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices"}
_REDUCTIONS = {"mean", "sum", "amax", "logsumexp"}
_LOCAL_POOLS = {"avg_pool2d", "max_pool2d", "max_pool2d_with_indices", "lp_pool2d"}
_FLATTENS = {"flatten", "reshape", "view"}
_ATTENTIONS = {"scaled_dot_product_attention", "multi_head_attention_forward", "_native_multi_head_attention"}


@dataclass
class _Candidate:
    """A tensor that could be the target, its version when it was used, and its place if no module returned it."""

    moment: int
    tensor: Tensor
    version: int
    place: CapturePoint | None


class LayerSearch(TorchFunctionMode):
    """Watch the forward pass of one image; enter it, and register `entering` and `leaving` with each submodule."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._image = image
        self._outputs: dict[int, tuple[str, Tensor, int]] = {}
        self._last: dict[str, Tensor] = {}
        self._active: list[tuple[str, Tensor | None]] = []
        self._calls: dict[str, int] = {}
        self._candidates: dict[str, _Candidate] = {}
        self._repeated: Tensor | None = None  # one place, which an adaptive pooling repeats to fill its grid
        self._moment = 0

    def entering(self, name: str) -> Callable[..., None]:
        """Return the forward pre-hook (with keyword arguments) of the submodule ``name``."""

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._active.append((name, next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)))

        return hook

    def leaving(self, name: str) -> Callable[..., None]:
        """Return the forward hook of the submodule ``name``."""

        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self._active.pop()
            if isinstance(output, Tensor):
                self._outputs[id(output)] = (name, output, _version(output))
                self._last[name] = output

        return hook

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        self._calls[name] = self._calls.get(name, 0) + 1
        source = args[0] if args else kwargs.get("input")
        first = result[0] if isinstance(result, tuple) and result else result
        if isinstance(source, Tensor) and isinstance(first, Tensor):
            self._observe(name, source, first, kwargs.get("dim", args[1] if len(args) > 1 else None))
        return result

    def choice(self) -> CapturePoint | None:
        """Return the last pooling's or attention's input, else the last flattening's, else the last convolution's."""
        pool, attention = self._candidates.get("pool"), self._candidates.get("attention")
        if pool is not None and attention is not None:
            return self._locate(pool if pool.moment > attention.moment else attention)
        last = pool or attention or self._candidates.get("flatten") or self._candidates.get("conv")
        return None if last is None else self._locate(last)

    def _observe(self, name: str, source: Tensor, result: Tensor, axes: object) -> None:
        self._moment += 1
        if name == "conv2d" and _is_spatial(source):
            self._candidates = {kind: one for kind, one in self._candidates.items() if kind == "attention"}
            self._note("conv", name, source)
        elif name in _ATTENTIONS or (name == "softmax" and source.ndim == 4 and source.shape[2] == source.shape[3] > 1):
            self._note_attention()
        elif _is_pooling(name, source, result, axes):
            self._note("pool", name, source)
        elif name in _POOLS:
            self._repeated = result
        elif name in _FLATTENS and _is_flattening(source, result) and source is not self._repeated:
            self._note("flatten", name, source)

    def _note(self, kind: str, name: str, source: Tensor) -> None:
        convolved = self._calls.get("conv2d", 0) > (kind == "conv")
        is_image = source.shape == self._image.shape and not convolved
        place = None if is_image else OperationInput(name, self._calls[name])
        self._candidates[kind] = _Candidate(self._moment, source, _version(source), place)

    def _note_attention(self) -> None:
        """Note what entered the innermost module that holds tokens; deeper ones may see them split into heads."""
        tokens = [(name, t) for name, t in reversed(self._active) if t is not None]
        for name, tensor in [*(item for item in tokens if item[1].ndim == 3), *tokens][:1]:
            self._candidates["attention"] = _Candidate(self._moment, tensor, _version(tensor), LayerInput(name))

    def _locate(self, candidate: _Candidate) -> CapturePoint | None:
        name, tensor, version = self._outputs.get(id(candidate.tensor), ("", None, -1))
        unchanged = tensor is not None and version == candidate.version and self._last[name] is tensor
        return LayerOutput(name) if unchanged else candidate.place


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - the only way to see an in-place change


def _is_spatial(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.shape[2] * tensor.shape[3] > 1


def _is_flattening(source: Tensor, result: Tensor) -> bool:
    """Return whether (1, C, h, w) becomes (1, Chw) or (1, C, hw)."""
    return _is_spatial(source) and (result.ndim == 2 or (result.ndim == 3 and result.shape[1] == source.shape[1]))


def _is_pooling(name: str, source: Tensor, result: Tensor, axes: object) -> bool:
    """Return whether one image's places, (1, C, h, w), (1, h, w, C) or tokens (1, T, C), become one or a fixed grid."""
    if name in _POOLS:
        return _is_spatial(source)
    if name not in _REDUCTIONS | _LOCAL_POOLS or result.shape[:1] != source.shape[:1]:
        return False
    if source.ndim == 3:
        return name in _REDUCTIONS and source.shape[1] > 1 and axes in (1, -2, (1,), (-2,), [1], [-2])
    return _is_spatial(source) and result.squeeze().ndim <= 1 and result.numel() in (source.shape[1], source.shape[3])
