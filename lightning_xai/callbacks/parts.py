"""What is monitored: explainers by name, and the metrics with and without annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard

from torch import Tensor

from lightning_xai.callbacks.keys import SHARED_KEYS, Key, control_keys, has_control, metric_keys
from lightning_xai.callbacks.study import Study, TargetRule
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.explainers.reference_explainer import ReferenceExplainer
from lightning_xai.explainers.registry import get_explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.suite import MetricSuite

_Metric: TypeAlias = str | ExplanationMetric

_DEFAULT = (
    "insertion_auc",
    "deletion_auc",
    "insertion_deletion",
    "relative_faithfulness",
    "max_sensitivity",
    "avg_sensitivity",
    "sparseness",
    "complexity",
    "heatmap_drift",
)
_NUM_REFERENCES = 64
_WITH_ANNOTATIONS = ("pointing_game", "relevance_mass_accuracy", "relevance_rank_accuracy", "box_localization")


class Parts:
    """Explainers and metrics of a monitor.

    Args:
        explainers: One or several explainers or aliases, or a mapping of names to these.
        metrics: Likewise for metrics; None for the default suite, to which annotated data add localization.
        target: Which class is explained.
        seed: Of the random control.
        num_images: Size of the probe.
        prefix: First part of every key.

    Raises:
        TypeError: If an entry is neither an explainer (metric) nor an alias.
        ValueError: If an alias is unknown, two entries have one name, or there is none.
    """

    def __init__(
        self,
        explainers: str | Explainer | Sequence[str | Explainer] | Mapping[str, str | Explainer],
        metrics: _Metric | Sequence[_Metric] | Mapping[str, _Metric] | None,
        target: TargetRule,
        seed: int,
        num_images: int,
        prefix: str,
    ) -> None:
        self.num_images = num_images
        self.prefix = prefix
        self.explainers = _named(explainers)
        plain = _suite(_DEFAULT if metrics is None else metrics)
        annotated = MetricSuite((*_DEFAULT, *_WITH_ANNOTATIONS)) if metrics is None else plain
        self._suites = {False: plain, True: annotated}
        self._control = _control_suite(plain)
        self._target: TargetRule = target
        self._seed = seed

    def suite(self, *, annotated: bool) -> MetricSuite:
        """Return the metrics for images with or without masks or boxes."""
        return self._suites[annotated]

    @property
    def num_references(self) -> int:
        """How many images of a loader the explainers get that need references; 0 if none does."""
        return _NUM_REFERENCES if any(map(_lacks_references, self.explainers.values())) else 0

    @property
    def num_gathered(self) -> int:
        """How many images of a loader are gathered; the probe is the first of them."""
        return max(self.num_images, self.num_references)

    def study(self, *, annotated: bool, references: Tensor | None = None) -> Study:
        """Return what is asked about images with or without masks or boxes.

        Args:
            annotated: Whether there are masks or boxes.
            references: Images (R, C, H, W) for the explainers that need some and were given none.
        """
        explainers = self.explainers
        if references is not None:
            supplied = {n: e.with_references(references) for n, e in explainers.items() if _lacks_references(e)}
            explainers = {**explainers, **supplied}
        return Study(explainers, self.suite(annotated=annotated), self._control, self._target, self._seed)

    def evaluations(self, *, annotated: bool) -> int | None:
        """Return about how many model evaluations one probe image costs; None if an explainer cannot tell."""
        suite = self.suite(annotated=annotated)
        cost = 1 + (0 if self._control is None else self._control.evaluations())
        for explainer in self.explainers.values():
            if explainer.evaluations is None:
                return None
            cost += explainer.evaluations + suite.evaluations(explainer.evaluations)
        return cost

    def name(self, key: str, *, explainer: str | None = None, loader: int | None = None) -> str:
        """Return the full name of a key, such as ``xai/grad_cam/faithfulness/dataloader_idx_1``.

        Args:
            key: Name of a `Key`.
            explainer: Part of the name only where there are several.
            loader: Index of the loader, None where there is one.
        """
        shown = explainer if len(self.explainers) > 1 else None
        suffix = None if loader is None else f"dataloader_idx_{loader}"
        return "/".join(part for part in (self.prefix, shown, key, suffix) if part is not None)

    def keys(self, *, annotated: bool, loaders: Sequence[int] = (0,)) -> dict[str, Key]:
        """Return every key that will be logged, by its full name.

        Args:
            annotated: Whether images have masks or boxes.
            loaders: Indices of the validation loaders.
        """
        keys: dict[str, Key] = {}
        for loader in loaders:
            keys.update(self.loader_keys(loader if len(loaders) > 1 else None, annotated=annotated))
        return keys

    def loader_keys(self, loader: int | None, *, annotated: bool) -> dict[str, Key]:
        """Return the keys of one loader by their full names; ``loader`` is None where there is one."""
        keys = {self.name(key.name, loader=loader): key for key in SHARED_KEYS}
        for name, metric in self.suite(annotated=annotated).explanation_metrics().items():
            for explainer in self.explainers:
                for key in metric_keys(name, metric, self.num_images):
                    keys[self.name(key.name, explainer=explainer, loader=loader)] = key
            keys.update({self.name(key.name, loader=loader): key for key in control_keys(name, metric)})
        return keys


def _named(
    explainers: str | Explainer | Sequence[str | Explainer] | Mapping[str, str | Explainer],
) -> dict[str, Explainer]:
    if isinstance(explainers, Mapping):
        named = {name: _resolved(explainer) for name, explainer in explainers.items()}
    else:
        named = {}
        for explainer in map(_resolved, [explainers] if isinstance(explainers, (str, Explainer)) else explainers):
            if explainer.alias in named:
                raise ValueError(
                    f"Expected `explainers` with different names, but got two {explainer.alias!r}. Pass a dict."
                )
            named[explainer.alias] = explainer
    if not named:
        raise ValueError("Expected `explainers` to hold at least one explainer, but got none.")
    return named


def _resolved(explainer: str | Explainer) -> Explainer:
    if isinstance(explainer, str):
        return get_explainer(explainer)
    if not isinstance(explainer, Explainer):
        raise TypeError(f"Expected `explainers` to hold explainers or aliases, but got {type(explainer).__name__}.")
    return explainer


def _lacks_references(explainer: Explainer) -> TypeGuard[ReferenceExplainer]:
    return isinstance(explainer, ReferenceExplainer) and not explainer.has_references


def _suite(metrics: _Metric | Sequence[_Metric] | Mapping[str, _Metric]) -> MetricSuite:
    suite = MetricSuite(metrics)
    foreign = [type(metric).__name__ for metric in suite.values() if not isinstance(metric, ExplanationMetric)]
    if foreign:
        raise TypeError(
            f"Expected `metrics` to hold metrics of explanations, but got {', '.join(foreign)}. Log it in your module, "
            "as without the monitor."
        )
    return suite


def _control_suite(suite: MetricSuite) -> MetricSuite | None:
    """Return the metrics that the random control is scored with."""
    metrics = {name: metric for name, metric in suite.explanation_metrics().items() if has_control(metric)}
    return MetricSuite(metrics) if metrics else None
