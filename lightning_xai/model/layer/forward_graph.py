"""One forward pass as a graph: which tensor was computed from which, by what, and which module returned it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from lightning_xai.model.attention.explicit_attention import is_attention

_PRODUCTS = {"linear", "matmul", "__matmul__", "bmm", "mm", "einsum", "addmm", "baddbmm"}
_WEIGHING = _PRODUCTS | {f"conv{kind}{axes}d" for kind in ("", "_transpose") for axes in (1, 2, 3)}
_ATTENTIONS = {"scaled_dot_product_attention", "multi_head_attention_forward", "_native_multi_head_attention"}


@dataclass(frozen=True)
class ComputedTensor:
    """A tensor that depends on the images, at one moment: what is written into it later is another.

    Attributes:
        operation: What computed it; empty if that was not seen.
        call: The how manieth call of this operation it was.
        sources: Indices of the computed tensors that the operation read.
        shape: Its shape.
        first: Index of the operation's first argument, if that is a computed tensor.
        alone: Whether the operation returned this tensor and nothing else.
        weighed: Whether this operation has weights: a convolution or a matrix product.
        learned: Whether any operation on the way to it has; else it is the image itself, in other units or cut up.
    """

    operation: str
    call: int
    sources: tuple[int, ...]
    shape: tuple[int, ...]
    first: int | None = None
    alone: bool = False
    weighed: bool = False
    learned: bool = False


@dataclass(eq=False)
class ModuleCall:
    """One call of a module.

    Attributes:
        name: Of the module.
        first: Index of the first tensor that entered it; None if that does not depend on the images.
        inputs: Indices of all that entered it.
        entered: Number of computed tensors before it ran.
        left: After it ran.
    """

    name: str
    first: int | None
    inputs: frozenset[int]
    entered: int
    left: int = 0


@dataclass(frozen=True)
class AttentionCall:
    """An attention that reads the images.

    Attributes:
        modules: That were running, innermost first.
        moment: Number of computed tensors when it ran.
    """

    modules: tuple[ModuleCall, ...]
    moment: int


class ForwardGraph(TorchFunctionMode):
    """Watch a forward pass from ``images`` on; enter it, inside `watching` for the names of modules.

    Attributes:
        tensors: All that was computed from the images, in order; the images are the first.
        attentions: In order.
        returned_by: Index -> name of the outermost module that returned that tensor. A module that returns what
            entered it, such as `nn.Identity` or a dropout in eval mode, returned nothing of its own.
        passed_by: Index -> name of the first such module that it entered and left.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.tensors = [ComputedTensor("", 0, (), tuple(images.shape))]
        self.attentions: list[AttentionCall] = []
        self.returned_by: dict[int, str] = {}
        self.passed_by: dict[int, str] = {}
        self._index: MutableMapping[Tensor, int] = WeakTensorKeyDictionary()
        self._index[images] = 0
        self._calls: dict[str, int] = {}
        self._running: list[ModuleCall] = []
        self._is_partly_hidden = False

    def index_of(self, tensor: Tensor) -> int | None:
        """Return where ``tensor``, as it is now, is among `tensors`; None if it does not depend on the images."""
        return self._index.get(tensor)

    @contextmanager
    def watching(self, layers: dict[str, nn.Module]) -> Iterator[None]:
        """Note what enters and leaves each of ``layers``."""
        scripted = {name for name, module in layers.items() if isinstance(module, torch.jit.ScriptModule)}
        self._is_partly_hidden = bool(scripted)
        with ExitStack() as stack:
            for name, module in layers.items():
                if name in scripted:
                    continue  # it takes no hooks
                stack.callback(module.register_forward_pre_hook(self._entering(name), with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(self._leaving(name)).remove)
            yield

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = list(tensors_in((args, kwargs)))
            first = self.index_of(given[0]) if given else None
            self._running.append(ModuleCall(name, first, self._known(given), len(self.tensors)))

        return hook

    def _leaving(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            module = self._running.pop()
            module.left = len(self.tensors)
            first = output[0] if isinstance(output, tuple) and output else output
            if not isinstance(first, Tensor):
                return
            index = self.index_of(first)
            if index is None and module.inputs:  # computed out of sight, as a scripted module does
                index = self._add(first, ComputedTensor("", 0, tuple(sorted(module.inputs)), (), weighed=True))
            if index is not None and index in module.inputs:
                self.passed_by.setdefault(index, name)
            elif index is not None:
                # of several calls only the last can be told apart
                self.returned_by = {known: by for known, by in self.returned_by.items() if by != name} | {index: name}

        return hook

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        given = list(tensors_in((args, kwargs)))
        versions = [_version(tensor) for tensor in given]
        if self._is_partly_hidden:
            self._note_hidden(given)
        sources, first = tuple(sorted(self._known(given))), args[0] if args else kwargs.get("input")
        made = ComputedTensor(
            name,
            self._calls.get(name, 0) + 1,
            sources,
            (),
            self.index_of(first) if isinstance(first, Tensor) else None,
            weighed=name in _WEIGHING,
        )
        result = func(*args, **kwargs)
        self._calls[name] = made.call
        if sources and not _is_only_like(name):
            if name in _ATTENTIONS or (name == "softmax" and is_attention(*args, **kwargs)):
                self._note_attention()
            made = replace(made, alone=isinstance(result, Tensor))
            self._note(made, [one for one in tensors_in(result) if not any(one is other for other in given)])
            self._note_written(made, [one for one, old in zip(given, versions, strict=True) if _version(one) != old])
        return result

    def _note_hidden(self, tensors: list[Tensor]) -> None:
        """Take what appears with the images' batch axis, and is no parameter, for what a scripted module computed."""
        for tensor in tensors:
            unknown = self.index_of(tensor) is None and not isinstance(tensor, nn.Parameter)
            if unknown and tensor.shape[:1] == self.tensors[0].shape[:1]:
                self._add(tensor, ComputedTensor("", 0, (0,), (), weighed=True))

    def _note(self, made: ComputedTensor, results: list[Tensor]) -> None:
        for tensor in results:
            self._add(tensor, made)

    def _note_written(self, made: ComputedTensor, tensors: list[Tensor]) -> None:
        """Note what the operation wrote into its arguments, and thereby into whatever shares their memory."""
        for tensor in tensors:
            index = self._add(tensor, made)
            for view in self._views(tensor):
                before = self.index_of(view)
                self._add(view, ComputedTensor("", 0, (*(() if before is None else (before,)), index), ()))

    def _add(self, tensor: Tensor, made: ComputedTensor) -> int:
        learned = made.weighed or any(self.tensors[source].learned for source in made.sources)
        self.tensors.append(replace(made, shape=tuple(tensor.shape), learned=learned))
        self._index[tensor] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def _note_attention(self) -> None:
        self.attentions.append(AttentionCall(tuple(reversed(self._running)), len(self.tensors)))

    def _known(self, tensors: list[Tensor]) -> frozenset[int]:
        return frozenset(index for index in map(self.index_of, tensors) if index is not None)

    def _views(self, tensor: Tensor) -> list[Tensor]:
        place = _memory(tensor)
        return [one for one in list(self._index.keys()) if one is not tensor and _memory(one) == place]

    def on_every_path(self, last: int) -> list[int]:
        """Return the indices of the tensors that every path from the images to tensor ``last`` comes past.

        Those are the ones through which as many paths lead as there are.
        """
        before, after = [1] + [0] * last, [0] * last + [1]
        for index in range(1, last + 1):
            before[index] = sum(before[source] for source in self.tensors[index].sources)
        for index in range(last, 0, -1):
            for source in self.tensors[index].sources:
                after[source] += after[index]
        return [index for index in range(last + 1) if before[index] * after[index] == before[last]]

    def readers(self, last: int) -> dict[int, list[int]]:
        """Return by index which tensors were computed from it, only those that lead on to tensor ``last``."""
        readers: dict[int, list[int]] = {last: []}
        for index in range(last, 0, -1):
            if index in readers:
                for source in self.tensors[index].sources:
                    readers.setdefault(source, []).insert(0, index)
        return readers


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a module or an operation takes or returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)


def _is_only_like(operation: str) -> bool:
    """Return whether a tensor's shape and type are all that the operation reads of it."""
    return operation.startswith("new_") or operation.endswith("_like")


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - the only way to see an in-place change


def _memory(tensor: Tensor) -> object:
    try:
        return tensor.untyped_storage().data_ptr() or tensor  # what is empty has no memory
    except (RuntimeError, NotImplementedError):  # sparse and nested tensors share none
        return tensor
