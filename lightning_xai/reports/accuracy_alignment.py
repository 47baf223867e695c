"""Whether accuracy and explanation quality move together: a chart and a scatter per score, and a table after a fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lightning_xai._checks import check_choice, nearest
from lightning_xai._lightning import loaded
from lightning_xai.loggers.log_picture import log_picture
from lightning_xai.loggers.tensorboard import chart_together
from lightning_xai.metrics.registry import METRICS
from lightning_xai.probing.decisions.accuracy import likely_accuracies
from lightning_xai.probing.decisions.alignment import LEAST_EPOCHS, Alignment, Point
from lightning_xai.probing.explained import GAIN, ExplainedEpoch, moment_of
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import has_control
from lightning_xai.reports.alignment_table import table_of
from lightning_xai.reports.report import Report, Run

_NAME = "accuracy_alignment"
_HEADLINE = ("faithfulness_gain", "faithfulness_skill", "pointing_game")
_PROBE = "probe_accuracy"
_WIDTH = 120  # of a table that goes to no terminal


@dataclass(frozen=True)
class AccuracyAlignment(Report):
    """Tie the accuracy of a fit to each explanation score over its epochs.

    Where a fit ends: a picture per score, ``<prefix>/accuracy_alignment/<score>``, with both curves in one chart and a
    scatter of the epochs, connected and coloured, in every logger that can show pictures, else as PNG; and a table with
    Spearman's correlation, its 95 % interval, the number of independent epochs that the series are worth, and the
    Pareto front: the epochs that no other beats in both. TensorBoard has both curves in one chart during the fit, too
    (*Custom Scalars*, of a run ``<prefix>_charts`` that holds nothing else).

    Neighbouring epochs resemble each other, and both curves usually rise; how the interval respects that stands at
    `lightning_xai.probing.decisions.alignment.rank_correlation`. An interval around 0 is a sign of too few epochs, not
    of misalignment. Below four there is no number, and no table.

    Args:
        monitor: Key of the accuracy, a metric that the validation logs; None for the accuracy that it does log
            (``val_acc``, ``val/accuracy``, …; of several the shortest name, and the table says so), else the monitor's
            own ``probe_accuracy``.
        scores: Names such as ``"faithfulness_gain"``; None for those of ``faithfulness_gain``, ``faithfulness_skill``
            and ``pointing_game`` that are logged, or without any the gains, or the metrics.
        mode: Whether the least or the greatest value of ``monitor`` is best, ``"min"`` for a loss; None: the greatest.
        table: Whether to print the table.

    Raises:
        ValueError: If a loss is named without a mode, or, before anything runs, if a score is not logged.
    """

    reads_logged: ClassVar[bool] = True

    monitor: str | None = None
    scores: str | Sequence[str] | None = None
    mode: Literal["min", "max"] | None = None
    table: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.mode, (None, "min", "max"), "mode")
        if self.monitor is not None and self.mode is None and "loss" in self.monitor.lower():
            raise ValueError(
                f"Expected `mode` beside monitor={self.monitor!r}, because a loss is best where it is least."
            )

    def check_keys(self, keys: Keys) -> None:
        """Raise ValueError if a score is none of those that are logged."""
        names = _names(keys)
        for name in _listed(self.scores):
            check_choice(name, names, "scores")

    def wants_logged(self, name: str) -> bool:
        """Keep what may be the accuracy."""
        if self.monitor is not None:
            return self.monitor in {name, _without_loader(name)}
        return may_be_accuracy(name)

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Wait for the end of the validation: not all metrics are known before."""

    def end_validation(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Let TensorBoard show both curves in one chart; say once where there is no such metric."""
        if epoch.stage != "fit":
            return
        noted = run.logged.get(moment_of(epoch), {})
        if self.monitor is not None and len(run.epochs) == 1 and not self._is_known(noted, epoch):
            names = sorted(run.trainer.callback_metrics)
            raise ValueError(
                f"Expected `monitor` of {type(self).__name__} to name a metric that the validation logs, but got "
                f"{self.monitor!r}, and there are: {', '.join(names)}.{nearest(self.monitor, names)}"
            )
        boards = [one for one in run.trainer.loggers if isinstance(one, loaded("loggers.TensorBoardLogger"))]
        charts = {one.score: (one.accuracy, one.score) for one in self.alignments(run)} if boards else {}
        for logger in boards if charts else ():
            chart_together(logger, run.keys.prefix, charts)

    def end_fit(self, run: Run) -> None:
        """Print the table and draw a picture per score; of a single epoch there is nothing to tell."""
        if run.epochs[-1].stage != "fit" or sum(epoch.stage == "fit" for epoch in run.epochs) < 2:
            return
        found = self.alignments(run)
        if self.table and any(one.num_explained >= LEAST_EPOCHS for one in found):
            self._print(found, run)
        for one in found:
            if one.points:
                self._draw(one, run)

    def alignments(self, run: Run) -> list[Alignment]:
        """Return accuracy and score of every explained epoch, for each loader, explainer and score."""
        known = run.keys.all(annotated=True, loaders=_loaders(run) if run.several_loaders else (0,))
        made = []
        for loader, key in self._keys_of_scores(run):
            accuracy = self._accuracy(run, loader)
            higher = known[key].higher_is_better
            sign = None if higher is None else 1.0 if higher else -1.0
            made.append(
                Alignment(
                    accuracy,
                    key,
                    _points(run, accuracy, key),
                    -1.0 if self.mode == "min" else 1.0,
                    sign,
                    num_explained=len(run.epochs),
                )
            )
        return made

    def _is_known(self, noted: Iterable[str], epoch: ExplainedEpoch) -> bool:
        return any(self.monitor in {name, _without_loader(name)} for name in (*noted, *epoch.estimates))

    def _candidates(self, run: Run, loader: int) -> list[str]:
        """Return the logged names, without a loader's index, that may be its accuracy, the likeliest first."""
        names = {name for noted in run.logged.values() for name in noted}
        of_loader = {
            _without_loader(name) for name in names if name in {_of_loader(name, loader), _without_loader(name)}
        }
        return [self.monitor] if self.monitor is not None else likely_accuracies(of_loader, run.keys.prefix)

    def _accuracy(self, run: Run, loader: int) -> str:
        """Return the key of the accuracy that goes with a loader."""
        candidates = self._candidates(run, loader)
        if not candidates:
            return run.keys.full(_PROBE, loader=loader if run.several_loaders else None)
        indexed = _of_loader(candidates[0], loader)
        return (
            indexed
            if any(indexed in (*run.logged.get(moment_of(one), ()), *one) for one in run.epochs)
            else candidates[0]
        )

    def _keys_of_scores(self, run: Run) -> list[tuple[int, str]]:
        """Return the loaders and full keys of the scores that some epoch has."""
        known = {key for epoch in run.epochs for key in epoch.estimates}
        metrics = run.keys.plan.metrics(annotated=True)
        gains = [name + GAIN for name, metric in metrics.items() if has_control(metric)]
        for names in [_listed(self.scores)] if self.scores is not None else [_HEADLINE, gains, list(metrics)]:
            keys = {key: loader for loader in _loaders(run) for name in names for key in _full(run, name, loader)}
            found = [(loader, key) for key, loader in keys.items() if key in known]
            if found:
                return found
        return []

    def _draw(self, alignment: Alignment, run: Run) -> None:
        from lightning_xai.visualization.alignment import as_picture, plot_alignment

        last, prefix = run.epochs[-1], run.keys.prefix
        log_picture(
            run.trainer,
            f"{prefix}/{_NAME}/{alignment.score.removeprefix(f'{prefix}/')}",
            as_picture(plot_alignment(alignment)),
            caption=f"{alignment.accuracy} and {alignment.score} over {len(alignment.points)} epochs",
            directory=run.folder,
            moment=(last.epoch, last.step),
        )

    def _print(self, found: Sequence[Alignment], run: Run) -> None:
        from rich.console import Console

        if not found:
            return
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
        others = sorted({name for loader in _loaders(run) for name in self._candidates(run, loader)[1:]})
        console.print(table_of(found, others))


def may_be_accuracy(name: str) -> bool:
    """Return whether the name of a logged metric is that of an accuracy, but for the keys of a monitor.

    Example:
        >>> [name for name in ("val/acc", "xai/probe_accuracy", "xai/relevance_mass_accuracy") if may_be_accuracy(name)]
        ['val/acc']
    """
    base = _without_loader(name)
    folder, _, last = base.rpartition("/")
    is_ours = bool(folder) and last.removesuffix(GAIN) in {_PROBE, *METRICS.names()}  # of whichever monitor
    return bool(likely_accuracies([base], "")) and not is_ours


def _names(keys: Keys) -> list[str]:
    """Return the names of all values, without prefix and explainer."""
    explainers = keys.plan.explainers if len(keys.plan.explainers) > 1 else ()
    below = [full.removeprefix(f"{keys.prefix}/") for full in keys.all(annotated=True)]
    of_one = [
        next((one.removeprefix(f"{name}/") for name in explainers if one.startswith(f"{name}/")), one) for one in below
    ]
    return sorted(set(of_one))


def _listed(scores: str | Sequence[str] | None) -> Sequence[str]:
    return [scores] if isinstance(scores, str) else scores or []


def _loaders(run: Run) -> list[int]:
    return sorted(run.epochs[-1].loaders)


def _full(run: Run, name: str, loader: int) -> Iterator[str]:
    """Yield the full keys of a name: of each explainer, and the one that belongs to none."""
    index = loader if run.several_loaders else None
    for explainer in (*run.keys.plan.explainers, None):
        yield run.keys.full(name, explainer=explainer, loader=index)


def _points(run: Run, accuracy: str, key: str) -> list[Point]:
    """Return the explained epochs of which both accuracy and score are known."""
    points = [
        Point(epoch.epoch, epoch.step, _value(run, epoch, accuracy), epoch.estimates[key])
        for epoch in run.epochs
        if key in epoch.estimates
    ]
    return [one for one in points if math.isfinite(one.accuracy) and math.isfinite(one.score.value)]


def _value(run: Run, epoch: ExplainedEpoch, name: str) -> float:
    """Return an accuracy at an explanation, NaN where it is not known."""
    return run.logged.get(moment_of(epoch), {}).get(name, epoch.get(name, math.nan))


def _without_loader(name: str) -> str:
    return name.partition("/dataloader_idx_")[0]


def _of_loader(name: str, loader: int) -> str:
    return f"{_without_loader(name)}/dataloader_idx_{loader}"
