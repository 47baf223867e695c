"""What a comparison found, by its place in the table; and parts of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias, TypeVar

from lightning_xai._checks import check_choice
from lightning_xai.comparison.cell import Cell, Failure, Setting
from lightning_xai.comparison.results import CellHeatmaps, CellValues
from lightning_xai.comparison.running.archive import Archive
from lightning_xai.comparison.statistics import aggregates
from lightning_xai.comparison.statistics.agreement import AGREEMENT_AXES, Agreement, AgreementAxis, agreements
from lightning_xai.comparison.transforms.named import AnyTransform
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.similarity import SIMILARITIES, Similarity
from lightning_xai.model.readout import Readout

Names: TypeAlias = str | int | Iterable[str | int] | None
"""One name or several; all if None."""

_OF_SETTING = ("models", "data", "transforms", "targets")

_Table = TypeVar("_Table", bound="TableContent")


@dataclass(frozen=True, eq=False)
class TableContent:
    """The values of every image, metric, explainer and setting, found by their place.

    Attributes:
        values: (cell, metric) -> values of the images.
        heatmaps: Cell -> what is known of its heatmaps.
        metrics: By name.
        explainers_by_name: Controls included.
        controls: Names of the explainers that explain nothing.
        failures: Cells and metrics without values, with the reason.
        archive: The images, the kept heatmaps and the models; None for a table without them.
        transforms: By name, None for unchanged images.
        remarks: (data, transform) -> what has to be known about the images.
        readout: How the models were read.
        seed: Of the random control and of random transforms.
    """

    values: Mapping[tuple[Cell, str], CellValues]
    heatmaps: Mapping[Cell, CellHeatmaps]
    metrics: Mapping[str, ExplanationMetric]
    explainers_by_name: Mapping[str, Explainer]
    controls: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    archive: Archive | None = None
    transforms: Mapping[str, AnyTransform] = field(default_factory=dict)
    remarks: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    readout: Readout | None = None
    seed: int = 0

    @property
    def explainers(self) -> tuple[str, ...]:
        """Names of all explainers, controls last."""
        return tuple(self.explainers_by_name)

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Every setting in which something was found or failed."""
        cells = [*(cell for cell, _ in self.values), *(failure.cell for failure in self.failures)]
        return tuple(dict.fromkeys(cell.setting for cell in cells))

    @property
    def errors(self) -> tuple[Failure, ...]:
        """The failures that are errors, not just metrics that do not apply."""
        return tuple(failure for failure in self.failures if failure.is_error)

    @property
    def behind(self) -> Archive:
        """The archive.

        Raises:
            ValueError: If there is none.
        """
        if self.archive is None:
            raise ValueError(
                "Expected a table with an `archive`, because heatmaps or images are asked for, but this one holds "
                "numbers alone: take the one that `Comparison.run` returns."
            )
        return self.archive

    def of(self, setting: Setting, explainer: str, metric: str) -> CellValues | None:
        """Return the values of a metric in a cell, None if there are none."""
        return self.values.get((Cell(setting, explainer), metric))

    def estimate(self, setting: Setting, explainer: str, metric: str) -> Estimate:
        """Return the value of a metric in a cell with its standard error; NaN if there are no values."""
        place = (Cell(setting, explainer), metric)
        if place not in self._estimates:
            found = self.values.get(place)
            known = Estimate(float("nan")) if found is None else self.metrics[metric].estimate(found.rows)
            self._estimates[place] = known
        return self._estimates[place]

    def equal_methods(self, setting: Setting) -> list[list[str]]:
        """Return the groups of explainers that are one method in a setting; see `ties`."""
        if setting not in self._equal_methods:
            self._equal_methods[setting] = aggregates.equal_methods(self, setting)
        return self._equal_methods[setting]

    def agreements(self, between: AgreementAxis, by: Similarity) -> list[Agreement]:
        """Return the values of every image behind `agreement`; computed once."""
        check_choice(between, AGREEMENT_AXES, "between")
        check_choice(by, SIMILARITIES, "by")
        if (between, by) not in self._agreements:
            self._agreements[between, by] = agreements(self, between, by)
        return self._agreements[between, by]

    @cached_property
    def _estimates(self) -> dict[tuple[Cell, str], Estimate]:
        return {}

    @cached_property
    def _equal_methods(self) -> dict[Setting, list[list[str]]]:
        return {}

    @cached_property
    def _agreements(self) -> dict[tuple[str, str], list[Agreement]]:
        return {}


def selected(table: _Table, names: Mapping[str, Names]) -> _Table:
    """Return a part of a table: see `ComparisonTable.only`."""
    known: dict[str, Sequence[str | int]] = {
        name: list(dict.fromkeys(column))
        for name, column in zip(_OF_SETTING, zip(*map(aggregates.of_setting, table.settings), strict=True), strict=True)
    }
    known |= {"explainers": table.explainers, "metrics": list(table.metrics)}
    chosen = {argument: _checked(given, known[argument], argument) for argument, given in names.items()}
    explainers = [name for name in table.explainers if name in chosen["explainers"] or name in table.controls]

    def stays(cell: Cell) -> bool:
        places = zip(_OF_SETTING, aggregates.of_setting(cell.setting), strict=True)
        return cell.explainer in explainers and all(value in chosen[argument] for argument, value in places)

    metrics = {name: metric for name, metric in table.metrics.items() if name in chosen["metrics"]}
    return replace(
        table,
        values={place: v for place, v in table.values.items() if stays(place[0]) and place[1] in metrics},
        heatmaps={cell: found for cell, found in table.heatmaps.items() if stays(cell)},
        metrics=metrics,
        explainers_by_name={name: table.explainers_by_name[name] for name in explainers},
        transforms={name: one for name, one in table.transforms.items() if name in chosen["transforms"]},
        failures=tuple(one for one in table.failures if stays(one.cell) and one.metric in metrics),
    )


def _checked(given: Names, known: Sequence[str | int], argument: str) -> Sequence[str | int]:
    """Return the chosen names.

    Raises:
        ValueError: If one is unknown, or there is none.
    """
    if given is None:
        return known
    names = [given] if isinstance(given, (str, int)) else list(given)
    for name in names:
        check_choice(name, known, argument)
    if not names:
        raise ValueError(f"Expected `{argument}` to hold at least one of {list(known)}, but got none.")
    return names
