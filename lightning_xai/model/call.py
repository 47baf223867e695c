"""How a user's model is called: its arguments, its precision, the caller's autocast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_device
from lightning_xai.model.arguments import ForwardArguments
from lightning_xai.model.extra import RowsOfExtra, each_tensor
from lightning_xai.model.restore.tensors import note_call


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

    def __call__(self, images: Tensor, extra: RowsOfExtra | None) -> Any:
        """Return what the module returns for ``images`` (N, C, H, W) with ``extra`` of as many rows.

        Raises:
            TypeError: If its forward wants other arguments.
            ValueError: If ``extra`` holds some that it does not take.
        """
        note_call(self._model)
        with self._users_autocast():
            beside = {} if extra is None else extra.gathered(images.device)
            if self._precision is None:
                return self._forward(images, beside, self._dtype_of_parameters(images))
            with self._precision.forward_context():
                images, beside = self._precision.convert_input(images), self._precision.convert_input(beside)
                return self._forward(images, beside, self._in_the_dtype_of_a_parameter)

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
        dtypes = [p.dtype for p in self._model.parameters() if p.is_floating_point()]
        return tensor.to(dtypes[0]) if dtypes and tensor.dtype not in dtypes else tensor
