"""A comparison of a study: which networks, which images, which explainers, which metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lightning_xai._checks import check_choice
from lightning_xai.comparison.comparison import Comparison
from lightning_xai.comparison.models import instantiated, loaded_model
from lightning_xai.model.readout import Readout
from lightning_xai.studies.findings import Network
from lightning_xai.studies.recipe import Recipe
from lightning_xai.studies.training import TrainedNetworks


@dataclass(frozen=True)
class TrainedModel:
    """A network of a part that a recipe trains.

    Attributes:
        name: In the rows, such as ``conv-e4-s0``.
        group: Without the seed, such as ``conv-e4``.
        recipe: With its seed.
        epoch: After how many epochs.
    """

    name: str
    group: str
    recipe: Recipe
    epoch: int


@dataclass(frozen=True)
class Part:
    """A comparison of a study.

    Attributes:
        name: By which tables and claims know it.
        data: As `Comparison` takes it; mappings with a ``class_path`` are made when it runs.
        explainers: Likewise.
        metrics: Likewise.
        recipes: Name -> recipe of the networks that are trained, one for each kept epoch and seed.
        models: Name -> other models, in the words of `Comparison`.
        seeds: How many trainings of each recipe.
        targets: See `Comparison`.
        transforms: Name -> words as `Comparison` takes them, or a mapping with a class path; None for unchanged images.
        num_images: How many of each data; all if None.
        readout: Arguments of `Readout`.
    """

    name: str
    data: Mapping[str, Any]
    explainers: Mapping[str, Any]
    metrics: Mapping[str, Any]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    targets: tuple[Any, ...] = ("label",)
    transforms: Mapping[str, Any] | None = None
    num_images: int | None = None
    readout: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, declared: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> Part:
        """Return a part as a study declares it: ``recipes`` are names of these."""
        known = set(cls.__dataclass_fields__) - {"name"}
        for one in declared:
            check_choice(one, sorted(known), f"a setting of part {name!r}")
        chosen = list(declared.get("recipes", ()))
        for one in chosen:
            check_choice(one, tuple(recipes), f"recipes of part {name!r}")
        plain = {key: value for key, value in declared.items() if key not in {"recipes", "targets"}}
        targets = tuple(declared.get("targets", ("label",)))
        return cls(name, recipes={one: recipes[one] for one in chosen}, targets=targets, **plain)

    def trained(self) -> Iterator[TrainedModel]:
        """Yield the networks that recipes train: recipe by recipe, epoch by epoch, seed by seed."""
        for name, recipe in self.recipes.items():
            for epoch in recipe.epochs or (0,):
                group = f"{name}-e{epoch}" if len(recipe.epochs) > 1 else name
                for seed in range(self.seeds):
                    seeded = replace(recipe, seed=recipe.seed + seed)
                    yield TrainedModel(f"{group}-s{seed}" if self.seeds > 1 else group, group, seeded, epoch)

    def networks(self, kept: TrainedNetworks) -> dict[str, Network]:
        """Return what is known of the networks of this part, by name; those of recipes have to be trained."""
        found = {
            one.name: Network(one.name, one.group, one.recipe.seed, kept.scores(one.recipe, one.epoch))
            for one in self.trained()
        }
        return {**found, **{name: Network(name, name) for name in self.models}}

    def loaded(self, kept: TrainedNetworks) -> Iterator[tuple[str, nn.Module]]:
        """Yield name and module of each network, of several trainings the first; recipes have to be trained."""
        first: dict[str, TrainedModel] = {}
        for one in self.trained():
            first.setdefault(one.group, one)
        for group, one in first.items():
            yield group, kept.network(one.recipe, one.epoch)
        for name, source in self.models.items():
            yield name, loaded_model(_lazily(source))

    def comparison(self, kept: TrainedNetworks, output: str | Path | None, **settings: Any) -> Comparison:
        """Return the comparison; ``settings`` are further arguments of `Comparison`."""
        models: dict[str, Any] = {one.name: partial(kept.network, one.recipe, one.epoch) for one in self.trained()}
        models |= {name: _lazily(source) for name, source in self.models.items()}
        return Comparison(
            models=models,
            data={name: _made(source) for name, source in self.data.items()},
            explainers={name: _made(source) for name, source in self.explainers.items()},
            metrics={name: _made(source) for name, source in self.metrics.items()},
            targets=self.targets,
            transforms=None if self.transforms is None else {n: _made(one) for n, one in self.transforms.items()},
            num_images=self.num_images,
            readout=Readout(**self.readout),
            output=output,
            **settings,
        )


def _made(source: Any) -> Any:
    return instantiated(source) if isinstance(source, Mapping) else source


def _lazily(source: Any) -> Any:
    return partial(_module, source) if isinstance(source, Mapping) else source


def _module(source: Mapping[str, Any]) -> nn.Module:
    module: nn.Module = instantiated(dict(source))
    return module.eval()
