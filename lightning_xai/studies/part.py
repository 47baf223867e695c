"""A comparison of a study: which networks, which images, which explainers, which metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lightning_xai._checks import check_choice
from lightning_xai.comparison.comparison import Comparison
from lightning_xai.comparison.models import instantiated, loaded_model
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.model.readout import Readout
from lightning_xai.studies.findings import Network
from lightning_xai.studies.training.recipe import Recipe
from lightning_xai.studies.training.trained_networks import TrainedNetworks


@dataclass(frozen=True)
class TrainedModel:
    """A network of a part that a recipe trains.

    Attributes:
        name: In the rows, such as ``conv-e4-s0``.
        group: Without the seed, such as ``conv-e4``.
        recipe: With its seed.
        epoch: After how many epochs.
        recipe_name: What the study calls the recipe.
    """

    name: str
    group: str
    recipe: Recipe
    epoch: int
    recipe_name: str


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
        data_of: Name of a recipe or model -> name of the data on which it is explained, for networks that belong to
            different data; every network on all data if empty.
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
    data_of: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 1
    targets: tuple[Any, ...] = ("label",)
    transforms: Mapping[str, Any] | None = None
    num_images: int | None = None
    readout: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, declared: Mapping[str, Any], families: Mapping[str, Mapping[str, Recipe]]) -> Part:
        """Return a part as a study declares it: ``recipes``, and those of ``data_of``, are names of families."""
        known = set(cls.__dataclass_fields__) - {"name"}
        for one in declared:
            check_choice(one, sorted(known), f"a setting of part {name!r}")
        chosen = list(declared.get("recipes", ()))
        for one in chosen:
            check_choice(one, tuple(families), f"recipes of part {name!r}")
        networks = {*chosen, *declared.get("models", ())}
        data_of: Mapping[str, str] = declared.get("data_of", {})
        if data_of and (set(data_of) != networks or not set(data_of.values()) <= set(declared["data"])):
            raise ValueError(
                f"Expected `data_of` of part {name!r} to name one of its data for each of "
                f"{', '.join(sorted(networks))}, but got {dict(data_of)}."
            )
        members = {one: list(families.get(one, {one: None})) for one in data_of}
        plain = {key: value for key, value in declared.items() if key not in {"recipes", "targets", "data_of"}}
        return cls(
            name,
            recipes={member: recipe for one in chosen for member, recipe in families[one].items()},
            data_of={member: data_of[one] for one, several in members.items() for member in several},
            targets=tuple(declared.get("targets", ("label",))),
            **plain,
        )

    def trained(self) -> Iterator[TrainedModel]:
        """Yield the networks that recipes train: recipe by recipe, epoch by epoch, seed by seed."""
        for name, recipe in self.recipes.items():
            for epoch in recipe.epochs or (0,):
                group = f"{name}-e{epoch}" if len(recipe.epochs) > 1 else name
                for seed in range(self.seeds):
                    seeded = replace(recipe, seed=recipe.seed + seed)
                    yield TrainedModel(f"{group}-s{seed}" if self.seeds > 1 else group, group, seeded, epoch, name)

    def networks(self, kept: TrainedNetworks) -> dict[str, Network]:
        """Return what is known of the networks of this part, by name; those of recipes have to be trained."""
        found = {
            one.name: Network(one.name, one.group, one.recipe.seed, kept.scores(one.recipe, one.epoch), one.recipe.key)
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

    def comparisons(self, kept: TrainedNetworks, output: str | Path | None, **settings: Any) -> Iterator[Comparison]:
        """Yield the comparison, with ``data_of`` one for each data; ``settings`` are further ones of `Comparison`."""
        models = {one.name: partial(kept.network, one.recipe, one.epoch) for one in self.trained()}
        models |= {name: _lazily(source) for name, source in self.models.items()}
        named = {one.name: one.recipe_name for one in self.trained()} | {name: name for name in self.models}
        groups: list[tuple[str, ...]] = [(name,) for name in self.data] if self.data_of else [tuple(self.data)]
        for group in groups:
            chosen = {n: one for n, one in models.items() if self.data_of.get(named[n], group[0]) in group}
            if not chosen:
                continue
            yield Comparison(
                models=chosen,
                data={name: _made(self.data[name]) for name in group},
                explainers={name: _made(source) for name, source in self.explainers.items()},
                metrics={name: _made(source) for name, source in self.metrics.items()},
                targets=self.targets,
                transforms=None if self.transforms is None else {n: _made(one) for n, one in self.transforms.items()},
                num_images=self.num_images,
                readout=Readout(**self.readout),
                output=output,
                **settings,
            )

    def run(self, kept: TrainedNetworks, output: str | Path | None, **settings: Any) -> ComparisonTable:
        """Compute what is missing and return the whole table; see `comparisons`."""
        return _joined([one.run() for one in self.comparisons(kept, output, **settings)])


def _joined(tables: Sequence[ComparisonTable]) -> ComparisonTable:
    """Return one table of settings that have nothing in common but explainers and metrics."""
    if len(tables) == 1:
        return tables[0]
    return replace(
        tables[0],
        values={place: one for table in tables for place, one in table.values.items()},
        heatmaps={cell: one for table in tables for cell, one in table.heatmaps.items()},
        failures=tuple(one for table in tables for one in table.failures),
        archive=None,  # each has its own
    )


def _made(source: Any) -> Any:
    return instantiated(source) if isinstance(source, Mapping) else source


def _lazily(source: Any) -> Any:
    return partial(_module, source) if isinstance(source, Mapping) else source


def _module(source: Mapping[str, Any]) -> nn.Module:
    module: nn.Module = instantiated(dict(source))
    return module.eval()
