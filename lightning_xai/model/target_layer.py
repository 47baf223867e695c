"""Where to look: the automatic target layer, found in one forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_xai._checks import check_choice
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserved import preserved

_log = logging.getLogger(__name__)

Layer: TypeAlias = str | nn.Module
_POOLS = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices"}
_REDUCTIONS = {"avg_pool2d", "max_pool2d", "mean", "sum", "amax", "logsumexp", "lp_pool2d"}
_FLATTENS = {"flatten", "reshape", "view"}
_ATTENTIONS = {"scaled_dot_product_attention", "multi_head_attention_forward", "_native_multi_head_attention"}


@dataclass(frozen=True)
class LayerOutput:
    """What the named submodule returns."""

    name: str

    def __str__(self) -> str:
        return f"the output of `{self.name}`"


@dataclass(frozen=True)
class OperationInput:
    """What enters the given call of a torch operation that no module's output equals, such as a functional pooling."""

    operation: str
    call: int

    def __str__(self) -> str:
        return f"the input of `{self.operation}` (call {self.call})"


CapturePoint: TypeAlias = LayerOutput | OperationInput

_found: WeakKeyDictionary[nn.Module, CapturePoint] = WeakKeyDictionary()


def capture_points(classifier: Classifier, layer: Layer | Sequence[Layer], images: Tensor) -> list[CapturePoint]:
    """Return where each of ``layer`` is captured.

    Args:
        classifier: The model.
        layer: ``"auto"``, a dotted name, a module of the model, or a list of these.
        images: (N, C, H, W); ``"auto"`` runs the first one, once per model.

    Raises:
        ValueError: If a name or module is not part of the model, or ``"auto"`` finds no spatial tensor.
    """
    layers = [layer] if isinstance(layer, (str, nn.Module)) else list(layer)
    return [_automatic(classifier, images) if item == "auto" else _named(classifier.model, item) for item in layers]


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules of ``model`` by dotted name, without the prefixes that compiling adds."""
    return {name.replace("_orig_mod.", ""): module for name, module in model.named_modules() if name}


def _named(model: nn.Module, layer: Layer) -> LayerOutput:
    names = named_layers(model)
    if isinstance(layer, str):
        check_choice(layer, [*names, "auto"], "target_layer")
        return LayerOutput(layer)
    for name, module in names.items():
        if module is layer:
            return LayerOutput(name)
    raise ValueError(f"Expected `target_layer` to be part of the model, but {type(layer).__name__} is not.")


def _automatic(classifier: Classifier, images: Tensor) -> CapturePoint:
    point = _found.get(classifier.model)
    if point is None:
        point = _search(classifier, images[:1].clone())
        _found[classifier.model] = point
        _log.info("target_layer='auto' picked %s of %s.", point, type(classifier.model).__name__)
    return point


def forget(model: nn.Module) -> None:
    """Forget the automatic choice for ``model``, whose structure changed."""
    _found.pop(model, None)


def _search(classifier: Classifier, image: Tensor) -> CapturePoint:
    trace = _Trace()
    with preserved(classifier.model), torch.no_grad(), ExitStack() as stack:
        for name, module in named_layers(classifier.model).items():
            stack.callback(module.register_forward_pre_hook(trace.entering(name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(trace.leaving(name)).remove)
        stack.enter_context(trace)
        classifier.forward(image)
    point = trace.choice()
    if point is None:
        raise ValueError(
            f"Expected {type(classifier.model).__name__} to pool or flatten feature maps, or to use attention, for "
            "target_layer='auto', but one forward pass showed neither. Name a layer: "
            f"{', '.join(list(named_layers(classifier.model))[-8:]) or 'the model has no submodules'}."
        )
    return point


@dataclass
class _Seen:
    """A tensor that could be the target, where it was used, and its version then."""

    moment: int
    tensor: Tensor
    version: int
    point: OperationInput | None


@dataclass
class _Trace(TorchFunctionMode):
    """Record the last pooling, flattening and attention of a forward pass, and which module made their input."""

    outputs: dict[int, tuple[str, Tensor, int]] = field(default_factory=dict)
    last: dict[str, Tensor] = field(default_factory=dict)
    active: list[tuple[str, Tensor | None]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    seen: dict[str, _Seen] = field(default_factory=dict)
    moment: int = 0

    def entering(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.active.append((name, next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)))

        return hook

    def leaving(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self.active.pop()
            if isinstance(output, Tensor):
                self.outputs[id(output)] = (name, output, output._version)
                self.last[name] = output

        return hook

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        self.calls[name] = self.calls.get(name, 0) + 1
        source = args[0] if args else (kwargs or {}).get("input")
        if isinstance(source, Tensor):
            self._observe(name, source, result)
        return result

    def _observe(self, name: str, source: Tensor, result: Any) -> None:
        self.moment += 1
        if name == "conv2d" and _is_spatial(source):
            self.seen.pop("pool", None)
            self.seen.pop("flatten", None)
        elif name in _ATTENTIONS or (name == "softmax" and source.ndim == 4 and source.shape[2] == source.shape[3] > 1):
            entered = self.active[-1][1] if self.active else None
            if entered is not None:
                self.seen["attention"] = _Seen(self.moment, entered, entered._version, None)
        elif _is_pooling(name, source, result):
            self._note("pool", name, source)
        elif name in _FLATTENS and _is_spatial(source) and result.ndim == 2 and len(result) == len(source):
            self._note("flatten", name, source)

    def _note(self, kind: str, name: str, source: Tensor) -> None:
        self.seen[kind] = _Seen(self.moment, source, source._version, OperationInput(name, self.calls[name]))

    def choice(self) -> CapturePoint | None:
        """Return the last pooling's input, or the last attention's if it came later, or the last flattening's."""
        pool, attention, flatten = (self.seen.get(kind) for kind in ("pool", "attention", "flatten"))
        if pool is not None and attention is not None:
            return self._locate(pool if pool.moment > attention.moment else attention)
        found = pool or attention or flatten
        return None if found is None else self._locate(found)

    def _locate(self, seen: _Seen) -> CapturePoint | None:
        name, tensor, version = self.outputs.get(id(seen.tensor), ("", None, -1))
        unchanged = tensor is not None and version == seen.version and self.last[name] is tensor
        return LayerOutput(name) if unchanged else seen.point


def _is_spatial(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.shape[2] * tensor.shape[3] > 1


def _is_pooling(name: str, source: Tensor, result: Any) -> bool:
    if name in _POOLS:
        return _is_spatial(source)
    if name not in _REDUCTIONS or not isinstance(result, Tensor) or result.shape[:1] != source.shape[:1]:
        return False
    if source.ndim == 3:
        return source.shape[1] > 1 and result.numel() == source.shape[0] * source.shape[2] and source.shape[2] > 1
    spatial = _is_spatial(source) and result.squeeze().ndim <= 1
    return spatial and result.numel() in (source.shape[0] * source.shape[1], source.shape[0] * source.shape[3])
