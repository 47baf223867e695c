"""The models of a comparison while it runs: each is loaded when it is needed, and kept as long as there is room."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import nn

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.models import loaded_model
from lightning_xai.comparison.running.attack import Attack
from lightning_xai.comparison.running.bench import MOST_KEPT, Bench
from lightning_xai.comparison.running.task import Task
from lightning_xai.comparison.storage.storage import Storage
from lightning_xai.model.layer.search import forget, look_at

_MOST_LOADED = 1 << 32  # bytes of weights of models that are not at work


class LoadedModels:
    """Models and benches by name and setting; those that were not used for the longest time are given up first.

    A module that was given is on its own device again at the end.

    Args:
        task: Whose models.
        storage: Where images are kept that were changed against a model.

    Attributes:
        loads: How often a model was loaded.
    """

    def __init__(self, task: Task, storage: Storage) -> None:
        self.loads = 0
        self._task = task
        self._storage = storage
        self._modules: dict[str, nn.Module] = {}
        self._homes: dict[str, torch.device] = {}
        self._benches: dict[Setting, Bench] = {}
        self._attacks: dict[tuple[str, str, str], Attack] = {}

    def module(self, name: str) -> nn.Module:
        """Return a model."""
        module = self._modules.pop(name, None)
        if module is None:
            module = loaded_model(self._task.models[name])
            self.loads += 1
            forget(module)  # so that no earlier choice of a layer decides here, and every process chooses alike
            look_at(module, (item.image for images in self._task.images.values() for item in images.probe.items))
            tensors = (*module.parameters(), *module.buffers())
            self._homes[name] = next((one.device for one in tensors), torch.device("cpu"))
        self._modules[name] = module  # the last one
        while len(self._modules) > 1 and sum(map(_nbytes, self._modules.values())) > _MOST_LOADED:
            self._give_up(next(iter(self._modules)))
        return module

    def bench(self, setting: Setting) -> Bench:
        """Return the model with the images of a setting, on the device where it runs."""
        task, module = self._task, self.module(setting.model)
        device = task.device or self._homes[setting.model]
        module.to(device)
        bench = self._benches.pop(setting, None)
        if bench is None:
            images, attack = task.images_of(setting), self._attack(setting)
            bench = Bench(module, images, setting.target, task.readout, task.seed, device, attack)
        self._benches[setting] = bench
        while len(self._benches) > 1 and sum(one.nbytes for one in self._benches.values()) > MOST_KEPT:
            del self._benches[next(iter(self._benches))]
        return bench

    def _attack(self, setting: Setting) -> Attack | None:
        """Return what changes the images of a setting against the model: one for all rules which class is explained."""
        transform = self._task.attack(setting.transform)
        if transform is None:
            return None
        place = (setting.model, setting.data, setting.transform)
        images = self._task.images_of(setting)
        return self._attacks.setdefault(place, Attack(images, transform, self._task.seed, self._storage))

    def _give_up(self, name: str) -> None:
        module = self._modules.pop(name).to(self._homes[name])
        forget(module)  # the images
        self._benches = {setting: bench for setting, bench in self._benches.items() if setting.model != name}
        self._attacks = {place: attack for place, attack in self._attacks.items() if place[0] != name}

    def __enter__(self) -> LoadedModels:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in reversed(list(self._modules)):
            self._give_up(name)


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
