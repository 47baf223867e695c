"""Other rules than the derivative on the way back, by operation: for modules, functions and methods alike.

Hooks on modules miss functional calls, and mix up the calls of a module that is used twice. Here each operation is met
when it runs, whoever calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_xai.model.backward.operation_names import count_dependent, depends, operation_name
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import named_layers


@dataclass(frozen=True)
class OperationCall:
    """One call of a torch operation on a tensor that depends on the images.

    Attributes:
        name: Of the operation; see `operation_name`.
        source: Its first argument.
        proceed: Runs the call as it was made, in place where the model wants that.
        run: The same operation, with the same settings, on any tensor, which is left as it is.
        arguments: What was passed after the first argument.
        keywords: What was passed by name.
    """

    name: str
    source: Tensor
    proceed: Callable[[], Tensor]
    run: Callable[[Tensor], Tensor]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def derivative(self) -> Tensor:
        """Return the derivative at the source, for an operation on each value by itself."""
        with torch.enable_grad():
            leaf = self.source.detach().requires_grad_()
            return torch.autograd.grad(self.run(leaf).sum(), leaf)[0]


Rule: TypeAlias = Callable[[OperationCall], Tensor]
"""Runs a call and returns its result, connected to the source as the rule wants it."""


_CHECKPOINTED = (
    "Expected a model that keeps its activations for the backward pass, but it uses activation checkpointing, which "
    "methods with rules of their own for the backward pass (LRP, DeepLift, GuidedBackprop, GuidedGradCAM) cannot "
    "follow: switch it off while explaining."
)


@contextmanager
def ruled(
    classifier: Classifier, rules: Mapping[str, Rule], refuse: Callable[[str, int], str | None] | None = None
) -> Iterator[set[str]]:
    """Let operations that depend on the images follow ``rules``; meanwhile no parameter requires a gradient.

    Args:
        classifier: The model, which runs in the body.
        rules: By name of the operation; it works in place where the model wants that.
        refuse: Told each operation's name and how many of its arguments depend on the images; returns why it cannot
            be, in words, or None. What returns nothing that depends on the images passes anyway.

    Yields:
        The names of the operations that ran.

    Raises:
        ValueError: If an operation is refused; names it and the module in which it ran.
        RuntimeError: If the model computes parts anew in the backward pass (activation checkpointing).
    """
    parameters = [p for p in classifier.model.parameters() if p.requires_grad]
    with preserved(classifier.model), ExitStack() as stack:
        for parameter in parameters:
            stack.callback(parameter.requires_grad_, True)
            parameter.requires_grad_(False)  # so that what requires one depends on the images
        entered: list[str] = []
        for name, module in named_layers(classifier.model).items():
            stack.callback(module.register_forward_pre_hook(_entering(entered, name)).remove)
            stack.callback(module.register_forward_hook(_leaving(entered)).remove)
        mode = stack.enter_context(_Ruled(rules, refuse, entered))
        try:
            yield mode.met
        except RuntimeError as error:
            if "torch.utils.checkpoint" in str(error.__cause__ or error):  # it runs parts again, without their rules
                raise RuntimeError(_CHECKPOINTED) from error
            raise


class _Ruled(TorchFunctionMode):
    """Run what depends on the images by its rule, if it has one."""

    def __init__(
        self, rules: Mapping[str, Rule], refuse: Callable[[str, int], str | None] | None, entered: list[str]
    ) -> None:
        super().__init__()
        self._rules, self._refuse, self._entered = rules, refuse, entered
        self.met: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        dependent = count_dependent((*args, *kwargs.values()))
        if not dependent or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        name = operation_name(func, args, kwargs)
        self.met.add(name)
        reason = None if self._refuse is None else self._refuse(name, dependent)
        if reason is not None:
            return self._unless_dependent(func(*args, **kwargs), name, reason)
        rule, source = self._rules.get(name), args[0] if args else kwargs.get("input")
        if rule is None or not isinstance(source, Tensor):
            return func(*args, **kwargs)
        rest, keywords = args[1:], {key: value for key, value in kwargs.items() if key != "input"}
        in_place = _works_in_place(func) or kwargs.get("inplace") is True
        run = _rerun(func, rest, keywords, in_place)
        result = rule(OperationCall(name, source, lambda: func(*args, **kwargs), run, rest, keywords))
        if in_place and result is not source:
            return source.copy_(result)  # the model may go on with what it passed
        return result

    def _unless_dependent(self, result: Any, name: str, reason: str) -> Any:
        if not depends(result):
            return result
        where = f" in `{self._entered[-1]}`" if self._entered else ""
        raise ValueError(reason.format(operation=f"`{name}`{where}"))


def _works_in_place(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.startswith("__")


def _rerun(
    func: Callable[..., Tensor], rest: tuple[Any, ...], keywords: dict[str, Any], in_place: bool
) -> Callable[[Tensor], Tensor]:
    return lambda source: func(source.clone() if in_place else source, *rest, **keywords)


def _entering(entered: list[str], name: str) -> Callable[[nn.Module, Any], None]:
    return lambda _, __: entered.append(name)


def _leaving(entered: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_: nn.Module, __: Any, ___: Any) -> None:
        entered.pop()

    return hook


def sent_back(source: Tensor, result: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``result`` such that ``pull`` turns a gradient by it into the gradient by ``source``."""
    returned: Tensor = _SentBack.apply(source, result.detach(), pull)
    return returned


class _SentBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, result: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG004
        ctx.pull = pull
        ctx.mark_dirty(result)  # else autograd would copy it, or call it a view
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.pull(gradients[0]), None, None
