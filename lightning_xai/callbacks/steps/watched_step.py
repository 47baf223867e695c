"""What the first validation step sends through the model, and what comes back, held against our own call of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_xai._checks import shape
from lightning_xai._lightning import MisconfigurationException
from lightning_xai.model.call import ForwardArguments
from lightning_xai.model.preserve import is_preserved
from lightning_xai.model.readout import (
    LogitsFromOutput,
    Readout,
    called_module,
    is_compiled,
    logits_from_output,
    outside_compiled,
)
from lightning_xai.probing.extra_in_batch import USUAL_NAMES
from lightning_xai.probing.sample import HINT, Sample

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule

_LABELS = frozenset(USUAL_NAMES["labels"])  # of which a loss is made in forward, not logits
_NOTHING: dict[nn.Module, str] = {}  # that a copy of a watched step looks at
_CLOSE = 2e-2  # relative; a step in half precision rounds by less
_LEAST = 1e-2  # the largest logit that such a share is taken of, at the least


@dataclass
class _Call:
    """What went through the called module, and what a later module made of it."""

    inputs: dict[str, Any]
    output: Any
    followed_by: list[str] = field(default_factory=list)


class WatchedStep:
    """Watch one validation step of a user: what it sends through the module that we call too, and what comes back.

    It only reads, and its hooks are gone after the step. What is compiled is not looked into.

    Args:
        module: The LightningModule.
        readout: Says which module is called, and where its logits are.
        redirected: Whether the strategy wraps the module, and runs its steps by a call of the wrapper.
    """

    def __init__(self, module: LightningModule, readout: Readout, *, redirected: bool = False) -> None:
        self._called, self._readout = called_module(module, readout.forward), readout
        self._arguments = ForwardArguments(self._called)
        layers = {} if is_compiled(module) else outside_compiled(module)
        watched = next((one for one in layers if self._called in (one, getattr(one, "_orig_mod", None))), None)
        self._layers = {
            layer: name for layer, name in layers.items() if layer is not watched and _has_parameters(layer)
        }
        self._calls: list[_Call] = []
        self._others: dict[str, Tensor | None] = {}  # layers called beside it -> first row of their logits, if any
        # A wrapper such as DDP runs the step itself as a call of the module: that one is not the user's.
        self._depth = -1 if redirected and self._called is module else 0
        self._handles: list[RemovableHandle] = []
        if watched is not None:
            self._handles = [
                watched.register_forward_pre_hook(self._enter),
                watched.register_forward_hook(self._leave, with_kwargs=True),
            ]
            for layer in self._layers:
                with suppress(Exception):  # a scripted layer may take none
                    self._handles.append(layer.register_forward_pre_hook(self._see_input))
                    self._handles.append(layer.register_forward_hook(self._see_output))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy of the module, which copies its hooks, have one that listens to nothing."""
        return _deaf_step, ()

    def stop(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def compare(self, sample: Sample, logits: Callable[[Tensor], Tensor]) -> None:
        """Hold what was seen against our own call.

        Args:
            sample: The first image of the batch, as it was before the step.
            logits: Our own logits (1, K) of its images.

        Raises:
            MisconfigurationException: If the step calls the module once, and in another way; the message says how, and
                what settles it.
        """
        name = type(self._called).__name__
        if len(self._calls) == 1:
            self._check_call(name, sample, logits)
        elif self._calls:
            _warn_of_calls(name, f"{len(self._calls)} times")
        elif self._others and self._readout.output != "probability":
            ours = logits(sample.images)[0]
            if all(_gap(theirs, ours) is not None for theirs in self._others.values()):
                _warn_of_calls(name, f"not at all, but `{next(reversed(self._others))}`")

    def _check_call(self, name: str, sample: Sample, logits: Callable[[Tensor], Tensor]) -> None:
        call = self._calls[0]
        if call.followed_by:
            raise MisconfigurationException(
                f"Expected {name} to return logits, but validation_step sends what it returns through "
                f"`{call.followed_by[0]}`. Let `forward` return logits, or name a module that does: "
                f"{self._arguments.named_below}."
            )
        sent = self._check_sent(name, sample, call)
        gap = _gap(_first_logits(call.output, self._readout.logits_from_output), logits(sample.images)[0])
        if gap is not None:
            self._check_beside(name, sent, gap, call.inputs, sample.extra or {})
        if gap is not None and self._readout.output != "probability" and gap < float("inf"):
            rank_zero_warn(
                f"ExplanationMonitor gets other logits from {name} than validation_step for the same image (they "
                f"differ by {gap:.2g}): dropout or batch statistics in validation, or a state that each call changes?"
            )

    def _check_sent(self, name: str, sample: Sample, call: _Call) -> Any:
        """Hold what a step sent for the first image against the batch's; return what it sent as the image."""
        extra = sample.extra or {}
        first = next((value for key, value in call.inputs.items() if key not in extra), None)
        sent = call.inputs.get(self._arguments.image(extra) or "", first)
        _check_input(name, sample.images, sent, self._arguments.named_below)
        for key in call.inputs.keys() & extra.keys():
            _check_extra(name, key, extra[key], call.inputs[key])
        return sent

    def _check_beside(
        self, name: str, sent: Any, gap: float, inputs: Mapping[str, Any], extra: Mapping[str, Any]
    ) -> None:
        """Raise if the logits differ because something else goes into forward, or the image in another type."""
        if isinstance(sent, Tensor) and not sent.is_floating_point():
            raise MisconfigurationException(
                f"Expected {name} to return for images as floating point, which gradients need, what it returns for "
                f"them as {sent.dtype}, but it differs by {gap:.2g}: convert them in validation_step, and return what "
                f"enters the model then. {HINT}"
            )
        further = [key for key, value in inputs.items() if value is not sent and isinstance(value, Tensor)]
        more = [f"sends `{key}` as well" for key in further if key not in extra and key.lower() not in _LABELS]
        less = [f"does not send `{key}`" for key in extra if key not in inputs]
        if more or less:
            raise MisconfigurationException(
                f"Expected validation_step to send through {name} what our call does, but it "
                f"{' and '.join([*more, *less])}, and the logits depend on that. {HINT} What goes into forward beside "
                f"the image is its `extra`, by the names of {self._arguments!r}; or name a module that takes images "
                f"alone, {self._arguments.named_below}."
            )

    def _enter(self, module: nn.Module, _: Any) -> None:
        self._depth += not is_preserved(module)  # else it is a call of another monitor

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if is_preserved(module):
            return
        self._depth -= 1
        if self._depth == 0 and self._layers is not _NOTHING:
            inputs = {key: _first_row(value) for key, value in self._arguments.named(args, kwargs).items()}
            self._calls.append(_Call(inputs, output))

    def _see_input(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        name = self._beside(module)
        if name is not None and self._calls:
            returned = self._calls[-1].output
            held = returned if isinstance(returned, (tuple, list)) else [returned]
            if any(arg is one for arg in args for one in held if isinstance(one, Tensor)):
                self._calls[-1].followed_by.append(name)

    def _see_output(self, module: nn.Module, _: Any, output: Any) -> None:
        name = self._beside(module)
        if name is not None:
            self._others[name] = _first_logits(output, None)

    def _beside(self, module: nn.Module) -> str | None:
        """Return the name of a layer with parameters that is called outside the called module, by the user's step."""
        return self._layers.get(module) if self._depth == 0 and not is_preserved(module) else None


def _deaf_step() -> WatchedStep:
    deaf = object.__new__(WatchedStep)
    deaf._depth, deaf._layers, deaf._calls, deaf._handles = 0, _NOTHING, [], []
    return deaf


def _first_logits(output: Any, chosen: LogitsFromOutput | None) -> Tensor | None:
    try:
        return logits_from_output(output, chosen)[0].detach().float().clone()
    except Exception:  # whatever a user's layer returns, or a function of it raises: these are no logits
        return None


def _gap(theirs: Tensor | None, ours: Tensor) -> float | None:
    """Return by how much logits differ from ours (K,), None if they do not."""
    ours = ours[1:] if theirs is not None and len(ours) == 2 * len(theirs) == 2 else ours
    if theirs is None or theirs.shape != ours.shape:
        return float("inf")
    gap = float((theirs - ours.to(theirs)).abs().max())
    return gap if gap > _CLOSE * max(float(ours.abs().max()), float(theirs.abs().max()), _LEAST) else None


def _warn_of_calls(name: str, times: str) -> None:
    rank_zero_warn(
        f"ExplanationMonitor explains one call of {name} with the images of the batch, but validation_step calls it "
        f"{times}: what is explained may not be what is validated. Name a module that is called once, "
        "Readout(forward=), if there is one."
    )


def _first_row(value: Any) -> Any:
    """Return a copy of what belongs to the first image; of what is no tensor, its type."""
    if isinstance(value, Tensor):
        return (value[:1] if value.ndim else value).detach().clone()
    return type(value)


def _check_extra(name: str, key: str, ours: Any, sent: Any) -> None:
    """Raise if a step sent something else for the first image than what its `extra` holds."""
    if not isinstance(ours, Tensor) or not isinstance(sent, Tensor) or not sent.ndim:
        return
    first = ours[:1].to(sent.device)
    if sent.shape != first.shape or not torch.allclose(sent.double(), first.double(), rtol=_CLOSE, equal_nan=True):
        raise MisconfigurationException(
            f"Expected validation_step to send `{key}` of the batch through {name} as it is, but it sends another: "
            f"{shape(sent)}, not {shape(first)}, or other values. {HINT} Its `extra={{{key!r}: ...}}` is what enters."
        )


def _check_input(name: str, image: Tensor, sent: Any, below: str) -> None:
    """Raise if a step sent something else than the image (1, C, H, W) of the batch through the model."""
    if sent is None:
        return
    if not isinstance(sent, Tensor):
        raise MisconfigurationException(
            f"Expected validation_step to send images through {name}, but it sends a {sent.__name__}: name a module "
            f"that takes images, and the rest as further arguments, {below}."
        )
    sent = sent.to(image.device)
    if sent.shape[1:] != image.shape[1:]:
        raise MisconfigurationException(
            f"Expected validation_step to send the images of the batch through {name}, of shape {shape(image[0])} "
            f"each, but it sends {shape(sent[0]) if sent.ndim else 'a number'}. {HINT} Its images are those that enter "
            f"the model; or name another module, {below}."
        )
    gap = float((sent.float() - image.float()).abs().max())
    if gap <= _CLOSE * max(float(image.abs().max()), 1e-6):
        return
    raise MisconfigurationException(
        f"Expected validation_step to send the images of the batch through {name} as they are, but it sends "
        f"others{_scaling(sent, image)}. {HINT} Its images are those that enter the model."
    )


def _scaling(sent: Tensor, image: Tensor) -> str:
    """Return in words how an image became what was sent, if it was scaled and shifted per channel."""
    x, y = image[0].flatten(1).double(), sent[0].flatten(1).double()
    spread = x.var(1, correction=0)
    slope = ((x - x.mean(1, keepdim=True)) * (y - y.mean(1, keepdim=True))).mean(1) / spread.clamp(min=1e-12)
    offset = y.mean(1) - slope * x.mean(1)
    if float((slope[:, None] * x + offset[:, None] - y).abs().max()) > _CLOSE * float(y.abs().max()):
        return ""
    return (
        f": image · {float(slope[0]):.3g} + {float(offset[0]):.3g} in the first channel (a normalisation in the step?)"
    )


def _has_parameters(layer: nn.Module) -> bool:
    return next(layer.parameters(), None) is not None
