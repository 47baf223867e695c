"""The user's module: what is inside its wrappers, its layers by name, and the part of it that is called."""

from __future__ import annotations

from torch import nn

from lightning_xai._checks import check_choice


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
    names = ((_plain(name), module) for name, module in model.named_modules())
    return {name: module for name, module in names if name}


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


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _lacks_forward(model: nn.Module) -> bool:
    if "forward" in model.__dict__ or hasattr(model, "_orig_mod"):
        return False
    definer = next(c for c in type(model).__mro__ if "forward" in c.__dict__)
    return definer is nn.Module or definer.__module__ in {
        "lightning.pytorch.core.module",
        "pytorch_lightning.core.module",
    }
