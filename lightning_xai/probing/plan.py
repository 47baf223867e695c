"""What is asked about each image: explainers by name, metrics, the random control, the explained class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_name, what_came
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.heat import compact_with_peaks
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.evidence.masking.reference_area import RandomControl, ReferenceArea
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.explainers.registry import EXPLAINERS
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.suite import Metrics, MetricSuite, suites_of
from lightning_xai.model.classifier import Classifier
from lightning_xai.probing.explained import Answers
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.shortcut_alarm import ShortcutAlarm
from lightning_xai.probing.target import TargetRule, case_of, check_target_rule

Explainers: TypeAlias = str | Explainer | Sequence[str | Explainer] | Mapping[str, str | Explainer]

_NUM_REFERENCES = 64


class Plan:
    """What is asked about images, whatever they are: it holds no model and no data.

    Args:
        explainers: One or several explainers or aliases, or a mapping of names to these.
        metrics: Likewise for metrics; None, or ``"default"`` among others in a list, for the default suite: every
            metric that says `in_default_suite`, those on annotated objects where there are annotations. Beside a metric
            that names a region stands the share of the heat on it, `HeatShare`.
        target: The explained class: ``"label"``, ``"predicted"``, ``"least_probable"``, ``"top_2"``, ``"top_3"``, …
            (the second, third, … largest logit) or an index.
        seed: Of the random control.
        alarm: What is asked about where heat lies; None for nothing.

    Attributes:
        explainers: Name -> explainer.
        target: As given.
        seed: As given.
        alarm: As given; None where no metric has anything that the alarm reads.

    Raises:
        TypeError: If an entry is neither an explainer (metric) nor an alias.
        ValueError: If an alias is unknown, two entries have one name, there is no explainer, or the target is no rule.
    """

    def __init__(
        self,
        explainers: Explainers,
        metrics: Metrics | None,
        target: TargetRule = "label",
        seed: int = 0,
        alarm: ShortcutAlarm | None = None,
    ) -> None:
        check_target_rule(target)
        self.explainers = _explainers_by_name(explainers)
        self.target: TargetRule = target
        self.seed = seed
        self._annotated_suite, self._plain_suite = suites_of(metrics)
        scored = {name: metric for name, metric in self.metrics(annotated=False).items() if has_control(metric)}
        self._control_suite = MetricSuite(scored) if scored else None
        self.alarm = alarm if scored or any(map(is_localization, self.metrics(annotated=True).values())) else None

    def metrics(self, *, annotated: bool) -> dict[str, ExplanationMetric]:
        """Return the metrics by name, for images with or without masks or boxes."""
        return self._suite(annotated=annotated).explanation_metrics()

    @property
    def num_references(self) -> int:
        """How many images of the data the explainers get that compare with some; 0 if none needs any."""
        return _NUM_REFERENCES if any(explainer.needs_references for explainer in self.explainers.values()) else 0

    def evaluations(self, *, annotated: bool) -> int | None:
        """Return about how many model evaluations one image costs; None if an explainer cannot tell."""
        control = frozenset[Evidence[Any]]() if self._control_suite is None else self._control_suite.evidence
        evidence = self._suite(annotated=annotated).evidence
        once = {one for one in evidence if isinstance(one, ReferenceArea) or one.is_about_images_alone}
        of_control = {ReferenceArea(one, RandomControl()) for one in control if isinstance(one, MaskingCurve)}
        cost = 1 + sum(one.evaluations() for one in (*control, *(once - of_control)))
        for explainer in self.explainers.values():
            if explainer.evaluations is None:
                return None
            cost += explainer.evaluations + sum(one.evaluations(explainer.evaluations) for one in evidence - once)
        return cost

    def answers(
        self,
        classifier: Classifier,
        sample: Sample,
        labels: Tensor,
        *,
        previous: Mapping[str, Tensor] | None = None,
        previous_target: Tensor | None = None,
        references: Tensor | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Answers:
        """Explain and score a batch.

        Args:
            classifier: The model.
            sample: Images with what is annotated.
            labels: Class that each image stands for, int64 (N,), -1 where none.
            previous: Explainer -> small heatmaps (N, h, w) of the last explained epoch.
            previous_target: Classes that these explain, int64 (N,).
            references: Images (R, C, H, W) for the explainers that compare with some and were given none.
            value_range: Least and greatest value of the probe's images, of which noise is a share; see `Case`.

        Raises:
            ValueError: If the labels are to be explained and there are none, or they do not fit the model.
            FloatingPointError: If there are no heatmaps because logits are NaN or infinite.
        """
        case = case_of(classifier, sample, labels, self.target, value_range=value_range, seed=self.seed)
        classifier, target = case.classifier, case.target
        explainers = {name: _supplied(explainer, references) for name, explainer in self.explainers.items()}
        with _nan_blamed_on(case.logits):
            heatmaps = self.heatmaps(classifier, sample.images, target, references)
            earlier = {
                name: _comparable((previous or {}).get(name), target, previous_target, sample.images)
                for name in heatmaps
            }
            rows: dict[str, list[dict[str, Tensor]]] = {name: [] for name in explainers}
            control_rows = []
            for some, part in case.parts():
                maps, before = _of(heatmaps, some), _of(earlier, some)
                for name, explainer in explainers.items():
                    scored = self._scored(part, name, explainer, maps, before[name], annotated=sample.annotated)
                    rows[name].append(scored)
                control_rows.append(self._control_rows(part))
            of_heat, of_chance = self._shares(case, heatmaps, sample)
        small = {name: compact_with_peaks(maps) for name, maps in heatmaps.items()}
        return Answers(
            logits=case.logits,
            target=target,
            rows={name: _joined(scored) for name, scored in rows.items()},
            control_rows=_joined(control_rows),
            heatmaps=heatmaps,
            small_heatmaps={name: maps for name, (maps, _) in small.items()},
            peaks={name: peaks for name, (_, peaks) in small.items()},
            heat_shares=of_heat,
            chance_shares=of_chance,
        )

    def heatmaps(
        self, classifier: Classifier, images: Tensor, target: Tensor, references: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the raw heatmaps (N, H, W) of images by explainer; see `answers`."""
        explainers = {name: _supplied(explainer, references) for name, explainer in self.explainers.items()}
        return {name: explainer(classifier, images, target) for name, explainer in explainers.items()}

    def _scored(
        self,
        part: Case,
        name: str,
        explainer: Explainer,
        heatmaps: Mapping[str, Tensor],
        previous: Tensor,
        *,
        annotated: bool,
    ) -> dict[str, Tensor]:
        """Return the values per image of one explainer's heatmaps of some images, by metric."""
        suite = self._suite(annotated=annotated)
        needs = frozenset().union(*(metric.needs for metric in suite.explanation_metrics().values()))
        others = {other: maps for other, maps in heatmaps.items() if other != name}
        return suite.score(
            part.with_heatmaps(
                heatmaps[name],
                explainer,
                previous_heatmaps=previous if "previous_heatmaps" in needs else None,
                other_heatmaps=(others or None) if "other_heatmaps" in needs else None,
            )
        )

    def _control_rows(self, part: Case) -> dict[str, Tensor]:
        return {} if self._control_suite is None else self._control_suite.score(part.seen_with(RandomControl()))

    def _shares(
        self, case: Case, heatmaps: Mapping[str, Tensor], sample: Sample
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
        if self.alarm is None:
            return {}, {}
        return self.alarm.shares(case, heatmaps, sample.regions, annotated=sample.annotated)

    def _suite(self, *, annotated: bool) -> MetricSuite:
        return self._annotated_suite if annotated else self._plain_suite


@contextmanager
def _nan_blamed_on(logits: Tensor) -> Iterator[None]:
    """Say of heatmaps that cannot be made whether the logits (N, K) are no numbers: it is no setting's fault then."""
    try:
        yield
    except ValueError as error:
        broken = int((~logits.isfinite().all(1)).sum())
        if not broken:
            raise
        raise FloatingPointError(
            f"Expected the model to return finite logits, but they are NaN or infinite for {broken} of {len(logits)} "
            "images, which have no explanation: has the training diverged?"
        ) from error


def _of(maps: Mapping[str, Tensor], some: slice) -> dict[str, Tensor]:
    return {name: of_all[some] for name, of_all in maps.items()}


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the values of all images by metric from those of some images each."""
    return {metric: torch.cat([found[metric] for found in parts]) for metric in parts[0]}


def has_control(metric: ExplanationMetric) -> bool:
    """Return whether the random control is scored with a metric: it says something only next to a random map's."""
    return metric.logs_gain and not metric.needs


def is_localization(metric: ExplanationMetric) -> bool:
    """Return whether a metric says how well heat and annotated object agree, higher being better."""
    return metric.family == "localization" and "masks" in metric.needs and metric.higher_is_better is True


def _explainers_by_name(explainers: Explainers) -> dict[str, Explainer]:
    if isinstance(explainers, Mapping):
        named = {check_name(name, "explainers"): _explainer(explainer) for name, explainer in explainers.items()}
    else:
        named = {}
        for explainer in map(
            _explainer, [explainers] if isinstance(explainers, (str, Explainer, type)) else explainers
        ):
            if explainer.alias in named:
                raise ValueError(
                    f"Expected `explainers` with different names, but got two {explainer.alias!r}. Pass a dict."
                )
            named[explainer.alias] = explainer
    if not named:
        raise ValueError("Expected `explainers` to hold at least one explainer, but got none.")
    return named


def _explainer(explainer: str | Explainer) -> Explainer:
    if isinstance(explainer, str):
        return EXPLAINERS.make(explainer)
    if not isinstance(explainer, Explainer):
        raise TypeError(f"Expected `explainers` to hold explainers or aliases, but got {what_came(explainer)}.")
    return explainer


def _supplied(explainer: Explainer, references: Tensor | None) -> Explainer:
    if references is None or not explainer.needs_references:
        return explainer
    return explainer.with_references(references)


def _comparable(previous: Tensor | None, target: Tensor, previous_target: Tensor | None, images: Tensor) -> Tensor:
    """Return earlier heatmaps on the device of the images, NaN where there is none or it explains another class."""
    if previous is None or previous_target is None:
        return torch.full((len(images), 1, 1), torch.nan, device=images.device)
    same = target == previous_target.to(target.device)
    return torch.where(same[:, None, None], previous.to(images.device).float(), torch.nan)
