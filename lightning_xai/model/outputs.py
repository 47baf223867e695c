"""From whatever a model returns to class logits (N, K)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lightning_xai._checks import shape

LogitsFromOutput = Callable[[Any], Tensor] | str | int


def logits_from_output(output: Any, chosen: LogitsFromOutput | None = None) -> Tensor:
    """Return the logits in ``output`` as (N, K); a single logit per image as (N, 1).

    Args:
        output: A tensor; a mapping or object with ``logits`` (Hugging Face); a tuple or list: its first element.
        chosen: Overrides this: a function of the output, a key or attribute, or an index into a tuple.

    Raises:
        TypeError: If no logits are found; the message says what came.
        ValueError: If the logits do not have shape (N,), (N, K) or (N, K, 1, 1); one image's may lack its axis, ().
    """
    logits = _find(output) if chosen is None else _choose(output, chosen)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"Expected the model to return logits (a Tensor, a tuple, or a mapping with 'logits'), but got "
            f"{_describe(output)}. Set `Readout(logits_from_output=...)` to a function, a key or an index."
        )
    if logits.ndim < 2:  # a single logit per image, squeezed; of one image even its batch axis is gone
        logits = logits.reshape(-1, 1)
    if logits.shape[2:].numel() != 1:
        raise ValueError(f"Expected the model's logits to have shape (N, K) or (N,), but got {shape(logits)}.")
    return logits.flatten(1)


def _find(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get("logits")
    if hasattr(output, "logits"):
        return output.logits
    return _find(output[0]) if isinstance(output, (tuple, list)) and output else None


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
