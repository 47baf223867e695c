"""The questions that a comparison answers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lightning_xai._checks import check_choice
from lightning_xai.comparison import layout
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.statistics import aggregates
from lightning_xai.comparison.statistics.agreement import AgreementAxis, agreement_records
from lightning_xai.comparison.statistics.statistics import Correlation
from lightning_xai.comparison.statistics.table_content import Names, TableContent, selected
from lightning_xai.comparison.statistics.verdict import verdicts
from lightning_xai.comparison.storage.tidy import COLUMNS, check_pyarrow, table_to_parquet, tidy
from lightning_xai.loggers.files import write_file
from lightning_xai.metrics.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

FigureKind = Literal["means", "ranks", "correlations", "agreement", "probability", "accuracy", "extremes", "curves"]
Axis = Literal["metrics", "models", "data", "transforms", "targets"]


class ComparisonTable(TableContent):
    """The values of every image, metric, explainer and setting, and what follows from them.

    A setting is a model, data, a transform and a rule which class is explained. Explainers are compared inside a
    setting, image by image. Every answer is `Records`: rows with named columns, which write themselves.

    Its attributes are those of `TableContent`.
    """

    def only(
        self,
        *,
        models: Names = None,
        data: Names = None,
        transforms: Names = None,
        targets: Names = None,
        explainers: Names = None,
        metrics: Names = None,
    ) -> ComparisonTable:
        """Return the part of the table that is about some models, data, ... alone: of each one name or several.

        Controls stay among the explainers, because a metric means something only next to what they reach.

        Raises:
            ValueError: If a name is unknown, or none is given of something.
        """
        names = {"models": models, "data": data, "transforms": transforms, "targets": targets}
        return selected(self, names | {"explainers": explainers, "metrics": metrics})

    def mean(self) -> Records:
        """Return each metric's value in each cell, its standard error over images, and how many are undefined."""
        return aggregates.means(self)

    def spread(self) -> Records:
        """Return how each metric's values of the images are spread in each cell.

        Standard deviation (over n − 1), least, median and greatest value, and the number of images with a value.
        """
        return aggregates.spreads(self)

    def accuracy(self) -> Records:
        """Return the share of images whose most probable class is the one that they stand for, of each model.

        With its standard error, over the compared images that have a label; of several labels that of the image is
        one (see `ProbeSelection`).
        """
        return aggregates.accuracies(self)

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

    def agreement(self, between: AgreementAxis = "explainers", by: Similarity = "spearman") -> Records:
        """Return how much the heatmaps of each image agree: of two explainers, two models, or two explained classes.

        Heatmaps are compared pixel by pixel at the size of the image, at which every explainer returns them. Between
        models, the rule which class is explained is the same; by ``"predicted"`` the classes may still differ. Images
        that a transform changed against each model are not the same, and are left out there.

        Args:
            between: Pairs of ``"explainers"`` in each setting (`ExplainerAgreement`), or, by each explainer, pairs of
                ``"models"`` on the same data, or of ``"targets"``. Models may be the checkpoints of one training.
            by: ``"spearman"``, the rank correlation of the pixels, or ``"ssim"``; both in [-1, 1], 1 for equal ones.

        Returns:
            Per pair, and per name with ``"all others"``: the mean over images, its standard error over images, and how
            many are undefined because a heatmap is constant. All other explainers are the real ones, those that are
            one method (see `ties`) counted once.

        Raises:
            ValueError: If an argument is unknown, or the table has no `archive`.
        """
        return agreement_records(self, between, by)

    def plot(self, kind: FigureKind = "means", ax: Axes | None = None, **options: Any) -> Figure:
        """Draw a figure of the table; take a part of the table by `only` to draw less.

        ==================  ============================================================================================
        ``"means"``         a table of heat: means, coloured from worst to best
        ``"ranks"``         a table of heat: ranks
        ``"correlations"``  a table of heat: correlations between metrics over explainers
        ``"agreement"``     a table of heat: how much heatmaps agree (``between``, ``by``; see `agreement`)
        ``"probability"``   each image's value over the probability of the explained class
        ``"accuracy"``      each model's value over its accuracy (``accuracy``, ``connected``)
        ``"extremes"``      the best and the worst image of each metric with their heatmaps (``mean``, ``std``)
        ``"curves"``        masking curves of the explainers beside each other (``num_images``, ``curves``, ...)
        ==================  ============================================================================================

        Args:
            kind: Which.
            ax: Where to draw a table of heat; a new figure with a panel per setting if None.
            **options: Of the kind: the arguments of the function in `lightning_xai.comparison.figures`.

        Raises:
            TypeError: If an option is none of the kind's.
            ValueError: If the kind is unknown, or ``ax`` is given and there are several settings.
        """
        from lightning_xai.comparison import figures

        check_choice(kind, get_args(FigureKind), "kind")
        return figures.draw(self, kind, options if ax is None else {"ax": ax, **options})

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
