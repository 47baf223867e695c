"""How a user's model is called: what its forward takes, its precision, the caller's autocast."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, jit, nn

from lightning_xai._checks import check_device
from lightning_xai.model.extra import RowsOfExtra, each_tensor
from lightning_xai.model.restore.tensors import note_call

_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ForwardArguments:
    """The arguments of a module's ``forward``, and how images and `extra` are laid out as these.

    A forward that takes anything, ``(*args, **kwargs)``, hands it on: the arguments are those of the only child with
    parameters, if there is one.

    Args:
        module: What is called.

    Example:
        >>> class Fusion(nn.Module):
        ...     def forward(self, image, table, scale=1.0): ...
        >>> arguments = ForwardArguments(Fusion())
        >>> arguments, arguments.beside, arguments.needed
        (Fusion.forward(image, table, scale), ['table', 'scale'], ['table'])
        >>> arguments.laid_out("i", {"table": "t"})
        (('i', 't'), {})
    """

    def __init__(self, module: nn.Module) -> None:
        self._name = type(getattr(module, "_orig_mod", module)).__name__
        self._children = [name for name, child in module.named_children() if next(child.parameters(), None) is not None]
        self._parameters = _parameters(module)
        self._signature = _own_parameters(module)
        self._takes_any = {one.kind for one in self._signature} & set(_ANY)
        self._own = [one for one in self._parameters if one.kind not in _ANY]

    def __repr__(self) -> str:
        """Return the call, such as ``Fusion.forward(image, table)``."""
        return f"{self._name}.forward({', '.join(str(one).split('=')[0].split(':')[0] for one in self._shown)})"

    @property
    def _shown(self) -> list[inspect.Parameter]:
        return self._parameters if self._own else self._signature

    @property
    def names(self) -> list[str]:
        """Those with a name, in order."""
        return [one.name for one in self._own]

    @property
    def beside(self) -> list[str]:
        """Those after the first, which is the image unless a batch says otherwise."""
        return self.names[1:]

    @property
    def needed(self) -> list[str]:
        """Those after the first that have no default."""
        return [one.name for one in self._own[1:] if one.default is one.empty]

    def is_needed(self, name: str) -> bool:
        """Return whether an argument of this name has no default."""
        return any(one.name == name and one.default is one.empty for one in self._own)

    @property
    def named_below(self) -> str:
        """The setting that names another module, with the names that it could have."""
        return f"Readout(forward=...) (children with parameters: {', '.join(self._children) or 'none'})"

    def image(self, extra: Mapping[str, Any]) -> str | None:
        """Return the name of the image's argument: the first that ``extra`` does not hold; None if it has no name."""
        return next((name for name in self.names if name not in extra), None)

    def laid_out(self, images: Any, extra: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call, by position and by name.

        Raises:
            ValueError: If ``extra`` holds what forward does not take.
        """
        unknown = [name for name in extra if name not in self.names]
        if unknown and self._parameters and not self._takes_any:
            raise ValueError(
                f"Expected `extra` to hold arguments of {self!r} by their names, but got "
                f"{', '.join(map(repr, unknown))}."
            )
        image = self.image(extra)
        by_position: list[Any] = [images] if image is None else []
        by_name = dict(extra) if image is None else {image: images, **extra}
        for one in self._own:
            if one.name not in by_name or one.kind is inspect.Parameter.KEYWORD_ONLY:
                break
            by_position.append(by_name.pop(one.name))
        if inspect.Parameter.VAR_KEYWORD not in self._takes_any:
            by_position += [by_name.pop(name) for name in unknown]
        return tuple(by_position), by_name

    def check_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: TypeError) -> None:
        """Say what is missing if ``error`` came of a call whose arguments do not fit the signature.

        Raises:
            TypeError: If an argument without a default is not among them; the message says how to supply it.
        """
        try:
            for parameters in (self._signature, self._parameters):
                inspect.Signature(parameters).bind(*args, **kwargs)
        except TypeError:
            given = {*self.names[: len(args)], *kwargs}
            missing = [name for name in self.names if name not in given and self.is_needed(name)]
            example = f"extra={{{missing[0]!r}: ...}}" if missing else "extra={...}"
            wants = " and ".join(f"`{name}`" for name in missing) or "other arguments by name"
            raise TypeError(
                f"Expected forward to be called with images, but {self!r} also wants {wants}: pass a value per image, "
                f"Sample({example}) from `sample_from_batch=`, or outside a Trainer `classifier.with_extra(...)`; or "
                f"name a module that takes images alone, {self.named_below}."
            ) from error

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what somebody else passed, by the arguments' names; what has none by its place, such as ``"#1"``."""
        names = [*self.names, *(f"#{place}" for place in range(len(self.names), len(args)))]
        return {**dict(zip(names, args, strict=False)), **kwargs}


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    parameters = _own_parameters(module)
    children = [child for child in module.children() if next(child.parameters(), None) is not None]
    hands_on = len(children) == 1 and all(one.kind in _ANY for one in parameters)
    return _parameters(children[0]) if hands_on else parameters


def _own_parameters(module: nn.Module) -> list[inspect.Parameter]:
    module = getattr(module, "_orig_mod", module)
    if isinstance(module, jit.ScriptModule):
        return [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in _scripted(module)]
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # what is built in has none
        return []


def _scripted(module: jit.ScriptModule) -> list[str]:
    schema = getattr(module.forward, "schema", None)
    return [] if schema is None else [one.name for one in schema.arguments if one.name != "self"]


class Precision(Protocol):
    """What a Trainer's ``precision_plugin`` offers: the context of a forward and the conversion of its input."""

    def forward_context(self) -> AbstractContextManager[Any]:
        """Return the context in which the model's forward runs."""

    def convert_input(self, data: Any) -> Any:
        """Return ``data`` in the model's dtype."""


class ModelCall:
    """Call a module with images and what it wants beside them, in the precision that it has.

    Args:
        model: Whose parameters say device and precision.
        called: The model, or the part of it that is called.
        precision: A Trainer's ``precision_plugin``; if None, images are converted to the dtype of the parameters.
    """

    def __init__(self, model: nn.Module, called: nn.Module, precision: Precision | None) -> None:
        self._model, self._called, self._precision = model, called, precision
        self._arguments = ForwardArguments(called)
        self._users_autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def named_below(self) -> str:
        """The setting that names another module, with the names that it could have."""
        return self._arguments.named_below

    def __call__(self, images: Tensor, extra: RowsOfExtra | None, *, in_bf16: bool = False) -> Any:
        """Return what the module returns for ``images`` (N, C, H, W) with ``extra`` of as many rows.

        Args:
            images: As the model sees them.
            extra: What forward wants beside them.
            in_bf16: Whether a float32 model runs in bfloat16 autocast.

        Raises:
            TypeError: If its forward wants other arguments.
            ValueError: If ``extra`` holds some that it does not take, or the device has no autocast.
        """
        note_call(self._model)
        with self._users_autocast():
            beside = {} if extra is None else extra.gathered(images.device)
            if self._precision is None:
                with self._lowered(images.device, in_bf16=in_bf16):
                    return self._forward(images, beside, self._dtype_of_parameters(images))
            with self._precision.forward_context(), self._lowered(images.device, in_bf16=in_bf16):
                images, beside = self._precision.convert_input(images), self._precision.convert_input(beside)
                return self._forward(images, beside, self._in_the_dtype_of_a_parameter)

    def _lowered(self, device: torch.device, *, in_bf16: bool) -> AbstractContextManager[Any]:
        """Return bfloat16 autocast for a float32 model; what has another precision keeps it, an autocast as well."""
        kind = device.type
        if not in_bf16 or torch.is_autocast_enabled(kind):
            return nullcontext()
        if any(p.dtype != torch.float32 for p in self._model.parameters() if p.is_floating_point()):
            return nullcontext()
        if not torch.amp.is_autocast_available(kind):
            raise ValueError(f"Expected `precision` to be 'model', because {kind!r} has no autocast, but got 'bf16'.")
        # no cache: in older torch, weights cast without gradients could wait in it for a step of an outer autocast
        return torch.autocast(kind, torch.bfloat16, cache_enabled=False)

    @contextmanager
    def autocast_for_the_model_only(self, device: torch.device) -> Iterator[None]:
        """See `Classifier.autocast_for_the_model_only`."""
        kind = device.type
        if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
            yield
            return
        enclosing = self._users_autocast
        dtype, cached = torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled()
        self._users_autocast = partial(torch.autocast, kind, dtype, cache_enabled=cached)
        try:
            with torch.autocast(kind, enabled=False):
                yield
        finally:
            self._users_autocast = enclosing

    def _forward(self, images: Tensor, beside: dict[str, Any], in_dtype: Callable[[Tensor], Tensor]) -> Any:
        args: tuple[Any, ...] = (in_dtype(images),)
        kwargs: dict[str, Any] = {}
        if beside:
            converted = each_tensor(beside, lambda one: in_dtype(one) if one.is_floating_point() else one)
            args, kwargs = self._arguments.laid_out(args[0], converted)
        try:
            return self._called(*args, **kwargs)
        except TypeError as error:
            self._arguments.check_call(args, kwargs, error)
            raise

    def _dtype_of_parameters(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        reference = next((p for p in self._model.parameters() if p.is_floating_point()), None)
        if reference is None:
            return lambda tensor: tensor
        if reference.device != images.device:
            check_device(reference, images, "model")
        dtype = reference.dtype
        return lambda tensor: tensor.to(dtype)

    def _in_the_dtype_of_a_parameter(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the first parameter's precision if no parameter has its: a step must convert it too."""
        first = None
        for parameter in self._model.parameters():
            if parameter.dtype == tensor.dtype:
                return tensor
            if first is None and parameter.is_floating_point():
                first = parameter.dtype
        return tensor if first is None else tensor.to(first)
