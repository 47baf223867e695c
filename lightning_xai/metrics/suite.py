"""Several metrics over one case, so that equal evidence is collected once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, TypeAlias

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_xai._checks import check_name, what_came
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.metrics.localization.heat_share import HeatShare
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.plotting import plot_each, plot_together
from lightning_xai.metrics.registry import METRICS

Metrics: TypeAlias = str | ExplanationMetric | Sequence[str | ExplanationMetric] | Mapping[str, str | ExplanationMetric]

DEFAULT = "default"
"""Stands for the default suite where an alias of a metric does."""

_CASE_ARGUMENTS = frozenset(signature(Case).parameters)


class MetricSuite(MetricCollection):
    """A `torchmetrics.MetricCollection` whose explanation metrics share model evaluations.

    Everything that `update` gets becomes one `Case`: a masking curve or a noisy neighbourhood that several metrics
    declare with equal settings is collected once, and freed after its last reader. Metrics of torchmetrics may be
    mixed in; they get the arguments of `update` that they name.

    Args:
        metrics: Metrics or aliases of `list_metrics`, or a mapping of names to these. Names default to the metric's
            ``key`` (class name for foreign metrics).
        **kwargs: ``prefix`` and ``postfix`` of `MetricCollection`.

    Raises:
        ValueError: If two entries have the same name, an alias is unknown, or a name is that of a method of modules.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> suite = MetricSuite(["insertion_auc", "deletion_auc", "insertion_deletion", "sparseness"])
        >>> suite.update(model=net, images=torch.rand(3, 1, 2, 2), heatmaps=torch.rand(3, 2, 2), target=1)
        >>> sorted(suite.compute())
        ['deletion_auc', 'faithfulness', 'insertion_auc', 'sparseness']
    """

    def __init__(
        self, metrics: Sequence[str | Metric] | Mapping[str, str | Metric] | str | Metric, **kwargs: Any
    ) -> None:
        # compute groups merge metrics whose states coincide on the first batch, which ours may
        named: dict[str, Metric | MetricCollection] = {**_named(metrics)}
        for name in named:
            if hasattr(MetricCollection, name):  # metrics are its submodules, under their names
                raise ValueError(
                    f"Expected names in `metrics` that torch.nn.Module does not use itself, but got {name!r}: choose "
                    "another one."
                )
        super().__init__(named, compute_groups=False, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to every metric; see `ExplanationMetric.update`. ``case`` may replace its arguments."""
        case = self._case(kwargs)
        for metric in self.values(copy_state=False):
            if isinstance(metric, ExplanationMetric):
                metric.update(case=case)
            else:
                metric.update(*args, **metric._filter_kwargs(**kwargs))  # noqa: SLF001

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add a batch as `update` does and return each metric's value for this batch alone."""
        case = self._case(kwargs)
        values = {}
        for name, metric in self.items(keep_base=True, copy_state=False):
            own = isinstance(metric, ExplanationMetric)
            values[name] = metric(case=case) if own else metric(*args, **metric._filter_kwargs(**kwargs))  # noqa: SLF001
        return {self._set_name(name): value for name, value in values.items()}

    def score(self, case: Case) -> dict[str, Tensor]:
        """Return each explanation metric's values per image, (N,) or (N, D), without touching any state.

        Args:
            case: One batch.

        Returns:
            Name -> values, float, NaN where undefined; foreign metrics are skipped.
        """
        self._announce(case)
        return {name: metric.scored(case) for name, metric in self.explanation_metrics().items()}

    def plot(self, val: Any = None, ax: Any = None, together: bool = False) -> Any:
        """Draw the values with their standard errors, or those that ``val`` holds.

        Figures are unknown to pyplot: save them, or let a notebook show them; nothing has to be closed.

        Args:
            val: What `compute` or `forward` returned, or a sequence of these over epochs; computed if None.
            ax: Where to draw: axes if ``together``, else a sequence of one per metric; of new figures if None.
            together: All metrics in one figure, with a panel for each scale (values up to 1, percentages, each metric
                without an end to its range), unless ``ax`` is given.

        Returns:
            A list of figure and axes per metric; if ``together`` one figure and its axes, an array if several.

        Raises:
            ValueError: If ``val`` lacks a metric, holds more than a number for one, or ``ax`` has another length.
        """
        metrics = dict(self.items(keep_base=False, copy_state=False))
        return plot_together(metrics, val, ax) if together else plot_each(metrics, val, ax)

    def explanation_metrics(self) -> dict[str, ExplanationMetric]:
        """Return the metrics of this package by name."""
        items = self.items(keep_base=True, copy_state=False)
        return {name: metric for name, metric in items if isinstance(metric, ExplanationMetric)}

    @property
    def evidence(self) -> frozenset[Evidence[Any]]:
        """What the metrics read that costs model evaluations."""
        return frozenset(evidence for metric in self.explanation_metrics().values() for evidence in metric.evidence)

    def evaluations(self, explaining: int = 1) -> int:
        """Return the model evaluations per image with sharing, if one heatmap costs ``explaining``."""
        return sum(evidence.evaluations(explaining) for evidence in self.evidence)

    def _case(self, arguments: dict[str, Any]) -> Case:
        """Return the case that ``arguments`` hold or make, taken out of them where it is given, and announce it."""
        case: Case | None = arguments.pop("case", None)
        if case is None:
            case = Case(**{name: value for name, value in arguments.items() if name in _CASE_ARGUMENTS})
        self._announce(case)
        return case

    def _announce(self, case: Case) -> None:
        for metric in self.explanation_metrics().values():
            for evidence in metric.evidence:
                case.announce(evidence)


def _named(metrics: Sequence[str | Metric] | Mapping[str, str | Metric] | str | Metric) -> dict[str, Metric]:
    if isinstance(metrics, Mapping):
        return {name: _resolved(metric) for name, metric in metrics.items()}
    named: dict[str, Metric] = {}
    for metric in map(_resolved, [metrics] if isinstance(metrics, (str, Metric, type)) else metrics):
        name = metric.key if isinstance(metric, ExplanationMetric) else type(metric).__name__
        if name in named:
            raise ValueError(
                f"Expected metrics with different names, but got two named {name!r}. Pass a dict of names."
            )
        named[name] = metric
    return named


def _resolved(metric: str | Metric) -> Metric:
    if isinstance(metric, str):
        return METRICS.make(metric)
    if not isinstance(metric, Metric):
        raise TypeError(f"Expected `metrics` to hold metrics or aliases, but got {what_came(metric)}.")
    return metric


def suites_of(metrics: Metrics | None) -> tuple[MetricSuite, MetricSuite]:
    """Return the metrics for images with and without annotations: only those of the default suite depend on these."""
    metrics = DEFAULT if metrics is None else metrics
    listed = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(listed, Sequence) or not any(isinstance(one, str) and one == DEFAULT for one in listed):
        suite = _suite_of(metrics)
        return suite, suite
    default, others = _default_metrics(), [one for one in listed if not (isinstance(one, str) and one == DEFAULT)]
    without_masks = [metric for metric in default if "masks" not in metric.needs]
    return _suite_of([*default, *others]), _suite_of([*without_masks, *others])


def _suite_of(metrics: Metrics) -> MetricSuite:
    for name in metrics if isinstance(metrics, Mapping) else ():
        if "." in check_name(name, "metrics"):
            raise ValueError(f"Expected names in `metrics` without dots, but got {name!r}.")
    suite = MetricSuite(metrics)
    foreign = [type(metric).__name__ for metric in suite.values() if not isinstance(metric, ExplanationMetric)]
    if foreign:
        raise TypeError(
            f"Expected `metrics` to hold metrics of explanations, but got {', '.join(foreign)}. Log it in your module, "
            "as without the monitor."
        )
    return _with_heat_shares(suite)


def _with_heat_shares(suite: MetricSuite) -> MetricSuite:
    """Add the share of the heat on every region that a metric names, which costs no evaluation."""
    scored = suite.explanation_metrics()
    regions = dict.fromkeys(name for metric in scored.values() for name in metric.named_regions)
    known = {metric.region for metric in scored.values() if isinstance(metric, HeatShare)}
    missing = [HeatShare(region) for region in regions if region not in known]
    return MetricSuite(scored | {one.key: one for one in missing if one.key not in scored}) if missing else suite


def _default_metrics() -> list[ExplanationMetric]:
    classes = (METRICS.load(alias) for alias in METRICS.builtin)
    return [metric() for metric in classes if metric.in_default_suite]
