"""What a comparison found, and the questions that it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_xai._checks import check_choice
from lightning_xai.comparison import aggregates, layout
from lightning_xai.comparison.cell import Cell, Failure, Setting
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.results import CellHeatmaps, CellValues
from lightning_xai.comparison.statistics import Correlation
from lightning_xai.comparison.tidy import COLUMNS, check_pyarrow, table_to_parquet, tidy
from lightning_xai.comparison.verdict import verdicts
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.loggers.files import write_file
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

Axis = Literal["metrics", "models", "data", "transforms", "targets"]


@dataclass(frozen=True, eq=False)
class ComparisonTable:
    """The values of every image, metric, explainer and setting, and what follows from them.

    A setting is a model, data, a transform and a rule which class is explained. Explainers are compared inside a
    setting, image by image. Every answer is `Records`: rows with named columns, which write themselves.

    Attributes:
        values: (cell, metric) -> values of the images.
        heatmaps: Cell -> what is known of its heatmaps.
        metrics: By name.
        explainers_by_name: Controls included.
        controls: Names of the explainers that explain nothing.
        failures: Cells and metrics without values, with the reason.
    """

    values: Mapping[tuple[Cell, str], CellValues]
    heatmaps: Mapping[Cell, CellHeatmaps]
    metrics: Mapping[str, ExplanationMetric]
    explainers_by_name: Mapping[str, Explainer]
    controls: tuple[str, ...]
    failures: tuple[Failure, ...] = ()

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

    @cached_property
    def _estimates(self) -> dict[tuple[Cell, str], Estimate]:
        return {}

    @cached_property
    def _equal_methods(self) -> dict[Setting, list[list[str]]]:
        return {}

    def mean(self) -> Records:
        """Return each metric's value in each cell, its standard error over images, and how many are undefined."""
        return aggregates.means(self)

    def difference(self, to: str | Iterable[str] | None = None) -> Records:
        """Return how much each explainer exceeds others, paired image by image.

        Args:
            to: An explainer, or several; every control if None.

        Returns:
            Per setting, metric, reference and other explainer: the difference of the metric's values, its standard
            error, a 95 % bootstrap interval over images, the p-value of Wilcoxon's signed-rank test and the same
            corrected by Holm for the explainers that are compared with one reference by one metric in one setting,
            whether the explainer is the better one, and the number of images that are defined in both.

        Raises:
            ValueError: If there is no such explainer.
        """
        references = self.controls if to is None else (to,) if isinstance(to, str) else tuple(to)
        for name in references:
            check_choice(name, self.explainers, "to")
        return aggregates.differences(self, references)

    def ranks(self, *, controls: bool = True) -> Records:
        """Return the rank of each explainer by each metric (1 is best, equal ones share), and its mean rank.

        Metrics without a direction rank nothing; the mean is over the metrics that rank the explainer. Explainers that
        are one method (see `ties`) share their ranks, whatever the last digit says.

        Args:
            controls: Whether the controls are ranked among the explainers.
        """
        return aggregates.ranks(self, controls=controls)

    def correlations(
        self, between: Axis = "metrics", how: Correlation = "spearman", *, controls: bool = False
    ) -> Records:
        """Return whether explainers are ranked alike: rank correlations over explainers of their means.

        Values of metrics that get better as they fall are turned around first; of explainers that are one method (see
        `ties`) the first counts.

        Args:
            between: Pairs of metrics in each setting, or, by each metric, pairs of models, data, transforms or targets.
            how: ``"spearman"`` or ``"kendall"``.
            controls: Whether the controls count among the explainers.

        Raises:
            ValueError: If an argument is unknown.
        """
        check_choice(between, ("metrics", "models", "data", "transforms", "targets"), "between")
        check_choice(how, ("spearman", "kendall"), "how")
        return aggregates.correlations(self, between, how, controls=controls)

    def ties(self) -> Records:
        """Return the explainers that are one method in a setting: equal heatmaps of every image, up to their scale."""
        return aggregates.ties(self)

    def verdicts(self) -> Records:
        """Return for each metric whether it tells explanations from maps that explain nothing.

        The probability that a real explainer's value for an image is better than a control's (equal ones count half),
        over all pairs of these, with a 95 % bootstrap interval over images. A metric is marked if the interval is not
        above .5, or a control's mean is better than those of at least half of the real explainers.
        """
        return verdicts(self)

    def costs(self) -> Records:
        """Return evaluations of the model and seconds per image: of one heatmap, and of scoring it by each metric.

        What metrics and explainers share counts for the first that asked.
        """
        return aggregates.costs(self)

    def plot(self, kind: Literal["means", "ranks", "correlations"] = "means", ax: Axes | None = None) -> Figure:
        """Draw the means as a table of heat, the ranks, or the correlations between metrics.

        Args:
            kind: Which.
            ax: Where to draw; a new figure with a panel per setting if None.

        Raises:
            ValueError: If the kind is unknown, or ``ax`` is given and there are several settings.
        """
        from lightning_xai.comparison import figures

        check_choice(kind, ("means", "ranks", "correlations"), "kind")
        return figures.draw_tables(self, kind, ax)

    def to_markdown(self) -> str:
        """Return a table per setting, explainers by metrics, with what has to be known to read it."""
        return "\n\n".join(records.to_markdown() for records in layout.pages(self))

    def to_latex(self) -> str:
        """Return the same for LaTeX with booktabs."""
        return "\n\n".join(records.to_latex() for records in layout.pages(self))

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return every value of every image as tidy rows in CSV, and write them if a path is given."""
        rows = self._tidy()
        records = Records(COLUMNS, tuple(zip(*(rows[name] for name in COLUMNS), strict=True)))
        return records.to_csv(path)

    def to_parquet(self, path: str | Path) -> None:
        """Write every value of every image as tidy rows: see ``docs/comparison.md`` for the columns.

        Raises:
            ModuleNotFoundError: If pyarrow is not installed.
        """
        check_pyarrow()
        write_file(path, table_to_parquet(self._tidy(), {}))

    def __rich__(self) -> Group:
        """Return the tables for a terminal."""
        from rich.console import Group

        return Group(*layout.pages(self))

    def __str__(self) -> str:
        """Return the tables as Markdown."""
        return self.to_markdown()

    def _tidy(self) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for (cell, metric), found in self.values.items():
            for name, values in tidy(found, cell.names(metric)).items():
                rows[name] += values
        return rows
