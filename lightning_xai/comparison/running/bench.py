"""One model with the images of one setting: explains them, and scores heatmaps of them, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lightning_xai.comparison.images import IMAGES_AT_ONCE, ComparedImages
from lightning_xai.comparison.results import CellHeatmaps, CellValues, ImageFacts, signature_of
from lightning_xai.comparison.running.attack import Attack
from lightning_xai.comparison.transforms.transformed_images import transformed
from lightning_xai.evidence.case import Case
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.images_per_forward import cheapest_on_cpu
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout
from lightning_xai.model.shifted_twin import shifted_twin
from lightning_xai.probing.probe import references_of_size
from lightning_xai.probing.selection import turns
from lightning_xai.probing.target import TargetRule, case_of

_NUM_REFERENCES = 64
MOST_KEPT = 1 << 30  # bytes of images whose cases are kept for the next explainer


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
        attack: Changes the images before they are explained, asking the model; None for none. What it costs counts for
            no explainer and no metric.

    Attributes:
        images: As given.
        nbytes: Of the images.
    """

    def __init__(
        self,
        model: nn.Module,
        images: ComparedImages,
        target: TargetRule,
        readout: Readout | None,
        seed: int,
        device: torch.device,
        attack: Attack | None = None,
    ) -> None:
        readout = readout or Readout()
        if readout.task == "auto" and images.is_multilabel:
            readout = replace(readout, task="multilabel")
        self.images = images
        self._classifier = Classifier(model, readout, chunk_size=_images_per_forward(images, device))
        self._target: TargetRule = target
        self._seed = seed
        self._device = device
        self._attack = attack
        self._cases: dict[int, Case] = {}
        self.nbytes = sum(item.image.nbytes for item in images.probe.items)

    def heatmaps(self, explainer: Explainer, chunks: Sequence[int] | None = None) -> CellHeatmaps:
        """Return the heatmaps of some batches, all if None, the images in the order of these."""
        found, evaluations, seconds = [], 0, 0.0
        with preserved(self._classifier.model):
            for number in range(len(self.images.chunks)) if chunks is None else chunks:
                case = self._case(number)
                case.logits  # noqa: B018 - what is asked before is not part of the explanation
                before, began = self._classifier.evaluations, time.perf_counter()
                maps = self._supplied(explainer, case)(case.classifier, case.images, case.target)
                found.append(maps.cpu())
                seconds += time.perf_counter() - began
                evaluations += self._classifier.evaluations - before
        return CellHeatmaps(
            heatmaps=found,
            signature=torch.cat([signature_of(maps) for maps in found]),
            evaluations=evaluations,
            seconds=seconds,
            picked=tuple(explainer.picked),
        )

    def scores(
        self, explainer: Explainer, metrics: Mapping[str, ExplanationMetric], heatmaps: Mapping[int, Tensor]
    ) -> Scores:
        """Return the values of metrics of the heatmaps of some batches, the images in the order of these.

        A metric that fails does not stop the others.

        Args:
            explainer: What made the heatmaps.
            metrics: By name.
            heatmaps: Number of a batch -> its heatmaps.
        """
        rows: dict[str, list[Tensor]] = {name: [] for name in metrics}
        errors: dict[str, Exception] = {}
        costs = dict.fromkeys(metrics, (0, 0.0))
        with preserved(self._classifier.model):
            for number, maps in heatmaps.items():
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
        facts = self._facts(list(heatmaps))
        values = {
            name: CellValues(torch.cat(parts), facts, *costs[name])
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
        images = transformed(self.changed_images(), lambda one: replace(one, images=one.images + shift))
        return Bench(twin, images, self._target, readout, self._seed, self._device)

    def _facts(self, chunks: Sequence[int]) -> ImageFacts:
        """Return what is known of the images of some batches and their explained classes, in the order of these."""
        cases = [self._case(number) for number in chunks]
        places = [place for number in chunks for place in self.images.chunks[number]]
        items, keys, labels = self.images.probe.items, self.images.probe.keys, self.images.probe.labels
        probabilities = [self._classifier.probabilities(case.logits) for case in cases]
        of_target = [p.gather(1, c.target[:, None])[:, 0].cpu() for p, c in zip(probabilities, cases, strict=True)]
        return ImageFacts(
            keys=torch.tensor([keys[place] for place in places], dtype=torch.int64),
            ids=tuple(items[place].id for place in places),
            labels=torch.tensor([labels[place] for place in places], dtype=torch.int64),
            target=torch.cat([case.target.cpu() for case in cases]),
            predicted=torch.cat([p.argmax(1).cpu() for p in probabilities]),
            probabilities=torch.cat(of_target),
        )

    def changed_images(self) -> ComparedImages:
        """Return the images as they are explained: changed, if there is an attack."""
        return self.images if self._attack is None else self._attack.changed(self._classifier, self._device)

    def case(self, places: Sequence[int]) -> Case:
        """Return the images at some places, which are of one size, with their explained classes, without heatmaps."""
        sample = self.images.sample(list(places), self._device)
        if self._attack is not None:
            sample = self._attack.change(places, sample, self._classifier)
        return case_of(
            self._classifier,
            sample,
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
        if self.nbytes <= MOST_KEPT:
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


def _images_per_forward(images: ComparedImages, device: torch.device) -> int:
    """Return a batch's size, on a CPU how many of the largest image cost least."""
    pixels = [item.image.shape[1] * item.image.shape[2] for item in images.probe.items]
    return cheapest_on_cpu(max(pixels)) if pixels and device.type == "cpu" else IMAGES_AT_ONCE
