"""Whether heatmaps of the same images agree: of two explainers, of two models, of two explained classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai.comparison.cell import NO_TRANSFORM, Cell
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.running.archive import Archive
from lightning_xai.comparison.statistics.aggregates import compared, of_setting, repeated
from lightning_xai.metrics.agreement.explainer_agreement import ExplainerAgreement
from lightning_xai.metrics.correlation import comparable_ranks, pearson
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.similarity import Similarity, ssim

if TYPE_CHECKING:
    from lightning_xai.comparison.statistics.table_content import TableContent

AgreementAxis: TypeAlias = Literal["explainers", "models", "targets"]
AGREEMENT_AXES: tuple[AgreementAxis, ...] = ("explainers", "models", "targets")
ALL_OTHERS = "all others"
_SETTING = ("model", "data", "transform", "target")
_FIELDS = {"models": "model", "targets": "target"}
_STATISTICS = ExplainerAgreement()  # whose mean and error over images these are
SIMILARITY_WORDS = {"spearman": "Spearman's correlation", "ssim": "structural similarity"}


@dataclass(frozen=True, eq=False)
class Agreement:
    """How much some heatmaps of each image agree, two and two.

    Attributes:
        place: What they have in common: model, data, transform, target and explainer, empty where they differ.
        names: Of what they are, in the order of the table.
        by_pair: Two names -> values of the images, float32 (N,), NaN where a heatmap is constant.
        others: Name -> the names with which it is compared together.
    """

    place: tuple[Any, ...]
    names: tuple[str, ...]
    by_pair: Mapping[tuple[str, str], Tensor]
    others: Mapping[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return what they have in common in words."""
        model, data, transform, target, explainer = self.place
        shown = [model, data, "" if transform == NO_TRANSFORM else transform]
        shown += ["" if target == "" else f"target={target}", explainer]
        return " · ".join(filter(None, shown))

    def of(self, first: str, second: str) -> Tensor:
        """Return the values of two names, (N,)."""
        return self.by_pair[(first, second) if (first, second) in self.by_pair else (second, first)]

    def with_others(self, name: str) -> Tensor:
        """Return the mean over its others of each image, (N,), as `ExplainerAgreement` defines it."""
        return torch.stack([self.of(name, other) for other in self.others[name]], 1).nanmean(1)


def agreements(table: TableContent, between: AgreementAxis, by: Similarity) -> list[Agreement]:
    """Return the agreement of every group of heatmaps that differ in one thing alone."""
    groups = _explainers(table) if between == "explainers" else _settings(table, _FIELDS[between])
    found = []
    for place, cells in groups:
        by_pair = _by_pair(table.behind, cells, by)
        names = tuple(dict.fromkeys(name for pair in by_pair for name in pair))
        if names:
            others = _others(table, cells, names) if between == "explainers" else _all_but_one(names)
            found.append(Agreement(place, names, by_pair, others))
    return found


def agreement_records(table: TableContent, between: AgreementAxis, by: Similarity) -> Records:
    """See `ComparisonTable.agreement`."""
    rows = []
    for one in table.agreements(between, by):
        pairs = [(*pair, values) for pair, values in one.by_pair.items()]
        together = [(name, ALL_OTHERS, one.with_others(name)) for name in one.names if len(one.others[name]) > 1]
        rows += [(*one.place, *names, *_numbers(values)) for *names, values in (*pairs, *together)]
    columns = (*_SETTING, "explainer", "first", "second", "value", "error", "undefined", "images")
    return Records(columns, tuple(rows), f"{SIMILARITY_WORDS[by]} of the heatmaps of two {between}")


def similarities(first: list[Tensor], second: list[Tensor], by: Similarity) -> list[Tensor]:
    """Return how similar the heatmaps (n, H, W) of each batch are, (n,) of each; see `similarity`."""
    return [_similar(_prepared(a, by), _prepared(b, by), by) for a, b in zip(first, second, strict=True)]


def mean_over_images(values: Tensor) -> Estimate:
    """Return the mean of values of images, (N,), NaN where undefined, with its standard error."""
    return _STATISTICS.estimate(values)


def _numbers(values: Tensor) -> tuple[Any, ...]:
    estimate = mean_over_images(values)
    return estimate.value, estimate.error, estimate.undefined, len(values)


_Group: TypeAlias = tuple[tuple[Any, ...], dict[str, Cell]]


def _explainers(table: TableContent) -> Iterator[_Group]:
    for setting in table.settings:
        yield (*of_setting(setting), ""), {name: Cell(setting, name) for name in table.explainers}


def _settings(table: TableContent, differing: str) -> Iterator[_Group]:
    """Yield for each explainer the settings that are alike but for one thing, by that thing's name."""
    groups: dict[tuple[Any, ...], dict[str, Cell]] = {}
    for setting in table.settings:
        if differing == "model" and table.behind.task.attack(setting.transform) is not None:
            continue  # each model has images of its own
        named = dict(zip(_SETTING, of_setting(setting), strict=True))
        alike = tuple("" if name == differing else value for name, value in named.items())
        for explainer in table.explainers:
            groups.setdefault((*alike, explainer), {})[str(named[differing])] = Cell(setting, explainer)
    yield from groups.items()


def _by_pair(archive: Archive, cells: Mapping[str, Cell], by: Similarity) -> dict[tuple[str, str], Tensor]:
    """Return the values of each pair of cells, which are about the same images; of one batch at a time."""
    kept = {name: archive.heatmaps(cell) for name, cell in cells.items()}
    found = {name: maps for name, maps in kept.items() if maps is not None}
    parts: dict[tuple[str, str], list[Tensor]] = {pair: [] for pair in combinations(found, 2)}
    images = archive.task.images_of(next(iter(cells.values())).setting)
    for number in range(len(images.chunks)):
        prepared = {name: _prepared(maps[number], by) for name, maps in found.items()}
        for (first, second), values in parts.items():
            values.append(_similar(prepared[first], prepared[second], by))
    return {pair: images.in_order(values) for pair, values in parts.items()}


def _prepared(heatmaps: Tensor, by: Similarity) -> Tensor:
    """Return what two heatmaps are compared by, so that each is ranked once, whatever the number of pairs."""
    return comparable_ranks(heatmaps) if by == "spearman" else heatmaps


def _similar(first: Tensor, second: Tensor, by: Similarity) -> Tensor:
    return pearson(first, second) if by == "spearman" else ssim(first, second)


def _others(table: TableContent, cells: Mapping[str, Cell], names: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the real explainers beside each, of those that are one method the first, unless it is that itself."""
    setting = next(iter(cells.values())).setting
    again = repeated(table, setting)
    once = [name for name in compared(table, controls=False) if name in names and name not in again]
    equal = {name: group for group in table.equal_methods(setting) for name in group}
    return {name: [other for other in once if other not in equal.get(name, [name])] for name in names}


def _all_but_one(names: tuple[str, ...]) -> dict[str, list[str]]:
    return {name: [other for other in names if other != name] for name in names}
