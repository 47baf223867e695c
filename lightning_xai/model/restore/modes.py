"""Train and eval mode, and the logging of LightningModules."""

from __future__ import annotations

from torch import nn

from lightning_xai.model.restore.piece import Restore


def modes(modules: list[nn.Module]) -> Restore:
    """Note the mode of each module, not by `train()`, which modules override; meanwhile all are in eval mode."""
    saved = [(module, module.training) for module in modules]
    for module, training in saved:
        if training:
            module.training = False

    def restore() -> None:
        for module, training in saved:
            if module.training is not training:
                module.training = training

    return restore


def muted(modules: list[nn.Module]) -> Restore:
    """Let ``log`` and ``log_dict`` of LightningModules do nothing until restored."""
    names = ("log", "log_dict")
    logging = {kind for kind in set(map(type, modules)) if all(callable(getattr(kind, name, None)) for name in names)}
    loggers = [module for module in modules if type(module) in logging]
    saved = [(m.__dict__, {name: m.__dict__[name] for name in names if name in m.__dict__}) for m in loggers]
    for attributes, _ in saved:
        attributes.update(dict.fromkeys(names, _silent))

    def restore() -> None:
        for attributes, values in saved:
            for name in names:
                attributes.pop(name, None)
            attributes.update(values)

    return restore


def _silent(*_: object, **__: object) -> None:
    """Stand in for `LightningModule.log` while a model is explained."""
