"""Why no gradient passes through a model, in the words of an error."""

from __future__ import annotations

from torch import nn

from lightning_xai.model.readout import named_layers


def no_gradient_because(model: nn.Module, detached: str) -> str:
    """Return a sentence that says why, and what to do: layers that compute in integers, else what ``detached`` says.

    Args:
        model: Whose gradients are missing.
        detached: The sentence about a model of ordinary layers.

    Example:
        >>> no_gradient_because(nn.Linear(2, 1), "the model detaches it.")
        'the model detaches it.'
    """
    quantized = {name: layer for name, layer in named_layers(model).items() if _is_quantized(layer)}
    whole = {name: layer for name, layer in quantized.items() if name.rpartition(".")[0] not in quantized}
    if not whole:
        return detached
    name, layer = next(iter(whole.items()))
    others = "" if len(whole) == 1 else f" and {len(whole) - 1} more"
    return (
        f"quantized layers have none (`{name}`, {str(layer).partition('(')[0]}{others}). Explain the model as it was "
        "before it was quantized, or use an explainer that needs no gradient, such as Occlusion or ScoreCAM."
    )


def _is_quantized(layer: nn.Module) -> bool:
    """Return whether a layer is one of torch's own that compute in integers, not one that only observes for later."""
    parts = type(layer).__module__.split(".")
    return parts[0] == "torch" and "quantized" in parts and type(layer).__name__ not in {"Quantize", "DeQuantize"}
