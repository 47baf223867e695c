"""One model with the images of one setting: explains them, and scores heatmaps of them, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lightning_xai.comparison.images import IMAGES_AT_ONCE, ComparedImages
from lightning_xai.comparison.results import CellHeatmaps, CellValues, ImageFacts, signature_of
from lightning_xai.evidence.case import Case
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout
from lightning_xai.model.shifted_twin import shifted_twin
from lightning_xai.probing.probe import references_of_size
from lightning_xai.probing.selection import turns
from lightning_xai.probing.target import TargetRule, case_of

_NUM_REFERENCES = 64
_MOST_KEPT = 1 << 30  # bytes of images whose cases are kept for the next explainer


@dataclass
class Scores:
    """Values of some metrics in one cell, and the errors of others, by name."""

    values: dict[str, CellValues]
    errors: dict[str, Exception]


class Bench:
    """A model, images and the rule which class of each is explained.

    What is known about images and classes alone, such as logits and the control's curves, is collected once for all
    explainers; it counts for the metric that asked first.

    Args:
        model: Left exactly as it was.
        images: What is explained.
        target: The rule.
        readout: How the model is read.
        seed: Of the random control.
        device: Where the model is.
    """

    def __init__(
        self,
        model: nn.Module,
        images: ComparedImages,
        target: TargetRule,
        readout: Readout | None,
        seed: int,
        device: torch.device,
    ) -> None:
        readout = readout or Readout()
        if readout.task == "auto" and images.is_multilabel:
            readout = replace(readout, task="multilabel")
        self.images = images
        self._classifier = Classifier(model, readout, chunk_size=IMAGES_AT_ONCE)
        self._target: TargetRule = target
        self._seed = seed
        self._device = device
        self._cases: dict[int, Case] = {}
        self._keeps = sum(item.image.nbytes for item in images.probe.items) <= _MOST_KEPT

    def heatmaps(self, explainer: Explainer) -> CellHeatmaps:
        """Return the heatmaps of all images."""
        found, evaluations, seconds = [], 0, 0.0
        with preserved(self._classifier.model):
            for number in range(len(self.images.chunks)):
                case = self._case(number)
                case.logits  # noqa: B018 - what is asked before is not part of the explanation
                before, began = self._classifier.evaluations, time.perf_counter()
                maps = self._supplied(explainer, case)(case.classifier, case.images, case.target)
                found.append(maps.cpu())
                seconds += time.perf_counter() - began
                evaluations += self._classifier.evaluations - before
        return CellHeatmaps(
            heatmaps=found,
            signature=self.images.in_order([signature_of(maps) for maps in found]),
            evaluations=evaluations,
            seconds=seconds,
            picked=tuple(explainer.picked),
        )

    def scores(
        self, explainer: Explainer, metrics: Mapping[str, ExplanationMetric], heatmaps: Sequence[Tensor]
    ) -> Scores:
        """Return the values of metrics of the heatmaps of each batch; one that fails does not stop the others."""
        rows: dict[str, list[Tensor]] = {name: [] for name in metrics}
        errors: dict[str, Exception] = {}
        costs = dict.fromkeys(metrics, (0, 0.0))
        with preserved(self._classifier.model):
            for number, maps in enumerate(heatmaps):
                base = self._case(number)
                case = base.with_heatmaps(maps.to(self._device), self._supplied(explainer, base))
                left = {name: metric for name, metric in metrics.items() if name not in errors}
                for metric in left.values():
                    for evidence in metric.evidence:
                        case.announce(evidence)
                for name, metric in left.items():
                    before, began = self._classifier.evaluations, time.perf_counter()
                    try:
                        rows[name].append(metric.scored(case).cpu())
                    except Exception as error:
                        errors[name] = error
                    spent = self._classifier.evaluations - before, time.perf_counter() - began
                    costs[name] = (costs[name][0] + spent[0], costs[name][1] + spent[1])
        facts = self.facts()
        values = {
            name: CellValues(self.images.in_order(parts), facts, *costs[name])
            for name, parts in rows.items()
            if name not in errors
        }
        return Scores(values, errors)

    def forward_first(self) -> int:
        """Send the first batch through the model, and return its number of images."""
        sample = self.images.sample(self.images.chunks[0], self._device)
        self._classifier.with_extra(sample.extra).logits(sample.images).sum().item()  # waits for the device
        return len(sample.images)

    def shifted(self, shift: Tensor) -> Bench:
        """Return the same for images plus a constant (C, 1, 1), and the twin of the model that takes it out again.

        Raises:
            ValueError: If there is no such twin; see `shifted_twin`.
        """
        sample = self.images.sample(self.images.chunks[0], self._device)
        readout = self._classifier.readout
        twin = shifted_twin(self._classifier.model, sample.images, shift.to(self._device), readout, sample.extra)
        images = self.images.transformed(lambda one: replace(one, images=one.images + shift))
        return Bench(twin, images, self._target, readout, self._seed, self._device)

    def facts(self) -> ImageFacts:
        """Return what is known of the images and their explained classes."""
        cases = [self._case(number) for number in range(len(self.images.chunks))]
        probabilities = [self._classifier.probabilities(case.logits) for case in cases]
        of_target = [p.gather(1, c.target[:, None])[:, 0].cpu() for p, c in zip(probabilities, cases, strict=True)]
        items = self.images.probe.items
        return ImageFacts(
            keys=torch.tensor(self.images.probe.keys, dtype=torch.int64),
            ids=tuple(item.id for item in items),
            labels=torch.tensor(self.images.probe.labels, dtype=torch.int64),
            target=self.images.in_order([case.target.cpu() for case in cases]),
            predicted=self.images.in_order([p.argmax(1).cpu() for p in probabilities]),
            probabilities=self.images.in_order(of_target),
        )

    def case(self, places: list[int]) -> Case:
        """Return the images at some places, which are of one size, with their explained classes, without heatmaps."""
        return case_of(
            self._classifier,
            self.images.sample(places, self._device),
            torch.tensor([self.images.probe.labels[place] for place in places], device=self._device),
            self._target,
            value_range=self.images.probe.value_range,
            seed=self._seed,
        )

    def _case(self, number: int) -> Case:
        """Return the case of a batch."""
        if number in self._cases:
            return self._cases[number]
        case = self.case(self.images.chunks[number])
        if self._keeps:
            self._cases[number] = case
        return case

    def _supplied(self, explainer: Explainer, case: Case) -> Explainer:
        """Return the explainer with images of the data to compare with, if it has none."""
        if not explainer.needs_references:
            return explainer
        probe = self.images.probe
        chosen = set(turns(probe.identities, _NUM_REFERENCES))
        images = [
            item.image for identity, item in zip(probe.identities, probe.items, strict=True) if identity in chosen
        ]
        height, width = case.images.shape[2:]
        return explainer.with_references(references_of_size(images[:_NUM_REFERENCES], (height, width)).to(self._device))
