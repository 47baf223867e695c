"""One explained validation: what every explainer and metric says about this rank's share of the probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, check_count
from lightning_xai.callbacks.sample import Sample
from lightning_xai.evidence.case import Case
from lightning_xai.explainers.controls.random_heatmap import RandomHeatmap
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.robustness.heatmap_drift import compact
from lightning_xai.metrics.suite import MetricSuite
from lightning_xai.model.classifier import Classifier

TargetRule: TypeAlias = Literal["label", "predicted", "least_probable"] | int


@dataclass(frozen=True)
class Findings:
    """Everything that is known about some probe images, first axis N throughout.

    Attributes:
        logits: float32 (N, K).
        target: The explained class, int64 (N,).
        rows: Explainer -> metric -> values (N,) or (N, D).
        control: Metric -> values of the random control.
        heatmaps: Explainer -> heatmaps (N, H, W).
        compact: Explainer -> heatmaps as they are kept for the next epoch, float16 (N, h, w).
    """

    logits: Tensor
    target: Tensor
    rows: dict[str, dict[str, Tensor]]
    control: dict[str, Tensor]
    heatmaps: dict[str, Tensor]
    compact: dict[str, Tensor]


@dataclass(frozen=True)
class Study:
    """What is asked about the probe.

    Attributes:
        explainers: By name.
        suite: Metrics of every explainer.
        control_suite: Metrics that the random control is scored with as well; None for none.
        target: Which class is explained.
        seed: Of the control.
    """

    explainers: Mapping[str, Explainer]
    suite: MetricSuite
    control_suite: MetricSuite | None
    target: TargetRule
    seed: int

    def run(
        self,
        classifier: Classifier,
        sample: Sample,
        classes: Tensor,
        previous: Mapping[str, Tensor],
        previous_target: Tensor | None,
    ) -> Findings:
        """Explain and score a batch.

        Args:
            classifier: The model.
            sample: Images with what is annotated.
            classes: Class that each image stands for, int64 (N,), -1 where none.
            previous: Explainer -> compact heatmaps (N, h, w) of the last explained epoch.
            previous_target: Classes that these explain, int64 (N,).

        Raises:
            ValueError: If the labels are to be explained and there are none.
        """
        if self.target == "label" and sample.labels is None:
            raise ValueError(
                "Expected batches with labels, because target='label' explains them, but found none. Pass "
                "target='predicted', or `sample_from_batch=`, a function of the batch that returns a Sample."
            )
        images = Case(classifier, sample.images, masks=sample.masks, boxes=sample.boxes)
        target = _targets(self.target, classes, classifier.probabilities(images.logits))
        heatmaps = {name: explainer(classifier, sample.images, target) for name, explainer in self.explainers.items()}
        rows = {}
        for name, explainer in self.explainers.items():
            case = images.with_heatmaps(
                heatmaps[name],
                explainer,
                target=target,
                previous_heatmaps=_comparable(previous.get(name), target, previous_target, sample.images),
                other_heatmaps={other: maps for other, maps in heatmaps.items() if other != name} or None,
            )
            rows[name] = self.suite.score(case)
        control: dict[str, Tensor] = {}
        if self.control_suite is not None:
            random = RandomHeatmap(seed=self.seed)(classifier, sample.images, target)
            control = self.control_suite.score(images.with_heatmaps(random, target=target))
        kept = {name: compact(maps) for name, maps in heatmaps.items()}
        return Findings(images.logits, target, rows, control, heatmaps, kept)


def check_target_rule(target: object) -> None:
    """Raise TypeError or ValueError unless ``target`` is a rule or a class index."""
    if isinstance(target, str):
        check_choice(target, ("label", "predicted", "least_probable"), "target")
    else:
        check_count(target, "target", least=0)  # type: ignore[arg-type]


def _targets(rule: TargetRule, classes: Tensor, probabilities: Tensor) -> Tensor:
    """Return the explained class; the predicted one for images that stand for no class."""
    predicted = probabilities.argmax(1)
    if rule == "label":
        return torch.where(classes >= 0, classes, predicted)
    if rule == "predicted":
        return predicted
    return probabilities.argmin(1) if rule == "least_probable" else torch.full_like(predicted, rule)


def _comparable(previous: Tensor | None, target: Tensor, previous_target: Tensor | None, images: Tensor) -> Tensor:
    """Return earlier heatmaps on the device of the images, NaN where there is none or it explains another class."""
    if previous is None or previous_target is None:
        return torch.full((len(images), 1, 1), torch.nan, device=images.device)
    same = target == previous_target.to(target.device)
    return torch.where(same[:, None, None], previous.to(images.device).float(), torch.nan)
