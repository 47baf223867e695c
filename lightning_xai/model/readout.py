"""How a model is read: task, logits, forward and chunk size, grouped in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor, finfo, nn
from torch.overrides import TorchFunctionMode

from lightning_xai._checks import check_choice, check_count, shape
from lightning_xai._settings import OfAnything

Task = Literal["auto", "multiclass", "binary", "multilabel"]
Output = Literal["auto", "logit", "probability"]
CurvePrecision = Literal["model", "bf16"]


@dataclass(frozen=True)
class Readout:
    """How class scores are read from a model.

    Args:
        task: ``"multiclass"`` (probability = softmax), ``"binary"`` (one logit per image: class 1, its negative is
            class 0; sigmoid), ``"multilabel"`` (sigmoid per class). ``"auto"``: one logit is binary, more are
            multiclass.
        logits_from_output: Where the logits are in what the model returns: a function of the output, a key or
            attribute, or an index. By default a tensor, the first of a tuple whose matrices have equal columns, or
            ``logits`` of a mapping or object.
        forward: Dotted name of the submodule to call, for modules that define only steps, such as ``"net"``.
        output: Whether the model returns logits, or probabilities (it ends in a softmax or sigmoid), which are turned
            into logits exactly: their logarithm, or log-odds. ``"auto"`` takes logits, and the monitor raises where it
            sees probabilities.
        chunk_size: Images per forward. By default, on a CPU, as many as cost least each by their size: 32 of up to
            128 x 128 pixels, 8 of 224 x 224, 2 of 512 x 512. Elsewhere the validation batch's size in a Trainer
            (without gradients as many more as make an image cheaper, within memory that training has used), and the
            batch that was passed without one. Halved where there is no room.
        precision: In what masking curves are evaluated, the unchanged image they begin with included. ``"model"``: as
            everything else. ``"bf16"``: a float32 model runs in bfloat16 autocast there, which takes about two thirds
            of the time on a processor with bfloat16 units and moves faithfulness by .01 standard errors
            (``benchmarks/README.md``); one that runs in 16 bits already, by a Trainer's ``precision=`` or its
            parameters, stays as it is, and so do logits, predictions, heatmaps, occlusion maps and neighbours, whose
            small differences would drown in the rounding.

    Raises:
        ValueError: If ``task``, ``output``, ``precision`` or ``chunk_size`` is out of range.
    """

    task: Task = "auto"
    logits_from_output: LogitsFromOutput | None = None
    forward: str | None = None
    chunk_size: int | None = None
    output: Output = "auto"
    precision: CurvePrecision = "model"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.task, ("auto", "multiclass", "binary", "multilabel"), "task")
        check_choice(self.output, ("auto", "logit", "probability"), "output")
        check_choice(self.precision, ("model", "bf16"), "precision")
        if self.chunk_size is not None:
            check_count(self.chunk_size, "chunk_size")


LogitsFromOutput: TypeAlias = int | OfAnything | Callable[[Any], Any] | str


def logits_from_output(
    output: Any, chosen: LogitsFromOutput | None = None, elsewhere: str = "Readout(forward=...)"
) -> Tensor:
    """Return the logits in ``output`` as (N, K); a single logit per image as (N, 1).

    Args:
        output: A tensor; a mapping or object with ``logits`` (Hugging Face); a tuple or list: its first element.
        chosen: Overrides this: a function of the output, a key or attribute, or an index into a tuple.
        elsewhere: The setting that names another module, for the errors.

    Raises:
        TypeError: If no logits are found; the message says what came.
        ValueError: If the logits do not have shape (N,), (N, K) or (N, K, 1, 1); one image's may lack its axis, (). If
            nothing is chosen of a tuple with matrices of several widths.
    """
    logits = found_in_output(output, chosen)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"Expected the model to return logits (a Tensor, a tuple, or a mapping with 'logits'), but got "
            f"{_describe(output)}. Set `Readout(logits_from_output=...)` to a function, a key or an index, or name a "
            f"module that returns them, {elsewhere}."
        )
    if logits.ndim < 2:  # a single logit per image, squeezed; of one image even its batch axis is gone
        logits = logits.reshape(-1, 1)
    if logits.shape[2:].numel() != 1:
        raise ValueError(
            f"Expected the model's logits to have shape (N, K) or (N,), but got {shape(logits)}: images or maps? Make "
            "logits of this, `Readout(logits_from_output=...)`, a function, or name a module that returns them, "
            f"{elsewhere}."
        )
    return logits.flatten(1)


def found_in_output(output: Any, chosen: LogitsFromOutput | None = None) -> Any:
    """Return what stands where the logits should be, in the form in which the model returned it."""
    return _find(output) if chosen is None else _choose(output, chosen)


def logits_of_probabilities(probabilities: Tensor, task: str) -> Tensor:
    """Return the logits of which a softmax, or where ``task`` is not multi-class a sigmoid, makes ``probabilities``."""
    least = finfo(probabilities.dtype).tiny
    logarithm = probabilities.clamp(min=least).log()
    return logarithm if task == "multiclass" else logarithm - (1.0 - probabilities).clamp(min=least).log()


class LastOperation(TorchFunctionMode):
    """Watch a forward pass for operations that make probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[tuple[Tensor, str]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            name = getattr(func, "__name__", "")
            made = name if name in _MAKE_PROBABILITIES else None
            if name in _CHANGE_NO_VALUE and args:
                made = self.behind(args[0])
            if made is not None:
                self._made.append((result, made))
        return result

    def behind(self, tensor: Any) -> str | None:
        """Return the operation whose probabilities ``tensor`` holds, None if it is no such tensor."""
        return next((name for made, name in self._made if made is tensor), None)


_MAKE_PROBABILITIES = {"softmax", "sigmoid"}
_CHANGE_NO_VALUE = {
    "__getitem__",
    "squeeze",
    "unsqueeze",
    "flatten",
    "view",
    "reshape",
    "clone",
    "contiguous",
    "float",
    "to",
}


def _find(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get("logits")
    if hasattr(output, "logits"):
        return output.logits
    if not isinstance(output, (tuple, list)) or not output:
        return None
    widths = {one.shape[1] for one in output if isinstance(one, Tensor) and one.ndim == 2}
    if len(widths) > 1:
        raise ValueError(
            "Expected the model to return logits, but it returns a tuple of tensors with "
            f"{' and '.join(map(str, sorted(widths)))} columns: features among them? Set "
            "`Readout(logits_from_output=...)` to the index of the logits."
        )
    return _find(output[0])


def _choose(output: Any, chosen: LogitsFromOutput) -> Any:
    if callable(chosen):
        return chosen(output)
    try:
        if isinstance(chosen, str) and not isinstance(output, Mapping):
            return getattr(output, chosen)
        return output[chosen]
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise TypeError(
            f"Expected the model's output to have {chosen!r} (`logits_from_output`), but got {_describe(output)}."
        ) from error


def _describe(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"{type(output).__name__} with keys {sorted(map(str, output))}"
    return type(output).__name__


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside DistributedDataParallel or DataParallel; its forward may run on one rank alone.

    Raises:
        TypeError: If ``model`` is no module.
    """
    inner: object = model
    while isinstance(inner, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        inner = inner.module
    if not isinstance(inner, nn.Module):
        raise TypeError(f"Expected `model` to be a torch.nn.Module or a Classifier, but got {type(inner).__name__}.")
    return inner


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules of ``model`` by dotted name, without what compiling adds to it."""
    names = ((plain_name(name), module) for name, module in model.named_modules())
    return {name: module for name, module in names if name}


def layer_named(model: nn.Module, name: str) -> nn.Module:
    """Return the submodule of a dotted name, as in `named_layers`, without a walk over all of them.

    Raises:
        KeyError: If there is none.
    """
    try:
        return model.get_submodule(name)
    except AttributeError:  # unknown, or below a compiled module
        return named_layers(model)[name]


def called_module(model: nn.Module, forward: str | None) -> nn.Module:
    """Return the module whose call gives the logits: the named one, ``model``, or its only child with parameters.

    Raises:
        ValueError: If the name is unknown, or ``model`` has no ``forward`` and not exactly one child with parameters.
    """
    if forward is not None:
        layers = named_layers(model)
        check_choice(forward, list(layers), "forward")
        return layers[forward]
    if not _lacks_forward(model):
        return model
    candidates = {name: child for name, child in model.named_children() if next(child.parameters(), None) is not None}
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    raise ValueError(
        f"Expected {type(model).__name__} to define `forward`, or `Readout(forward=...)` to name the submodule to call "
        f"(children with parameters: {', '.join(candidates) or 'none'}), but got neither."
    )


def plain_name(name: str) -> str:
    """Return a dotted name without what compiling adds to it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def is_compiled(module: nn.Module) -> bool:
    """Return whether a call or a step of a module is compiled: a hook below it would be compiled into it, anew."""
    functions = (getattr(module, name, None) for name in ("forward", "validation_step", "test_step"))
    return (
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or any(hasattr(function, "_torchdynamo_orig_callable") for function in functions)
    )


def outside_compiled(module: nn.Module, name: str = "") -> dict[nn.Module, str]:
    """Return ``module`` and what is below it with dotted names, but for what runs inside compiled code."""
    found = {} if getattr(module, "_compiled_call_impl", None) is not None else {module: plain_name(name)}
    if not is_compiled(module):
        for part, child in module.named_children():
            found |= outside_compiled(child, f"{name}.{part}" if name else part)
    return found


def _lacks_forward(model: nn.Module) -> bool:
    if "forward" in model.__dict__ or hasattr(model, "_orig_mod"):
        return False
    definer = next(c for c in type(model).__mro__ if "forward" in c.__dict__)
    return definer is nn.Module or definer.__module__ in {
        "lightning.pytorch.core.module",
        "pytorch_lightning.core.module",
    }
