"""Heatmaps of several classes of each image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, check_count
from lightning_xai._randomness import uniform
from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class ClassMaps:
    """Classes of each image with their heatmaps, in the order in which they were chosen.

    Attributes:
        classes: int64 (N, J).
        heatmaps: float32 (N, J, H, W).
    """

    classes: Tensor
    heatmaps: Tensor


@dataclass(frozen=True)
class ClassHeatmaps(Evidence[ClassMaps]):
    """Heatmaps of at most ``num_classes`` classes of each image.

    Costs ``num_classes`` explanations per image (fewer where the model has fewer classes) and the unchanged image.

    Args:
        num_classes: Most classes.
        choice: ``"confidence"``, the most probable classes; ``"seed"``, classes drawn for the image.
        among: ``"all"`` classes, or all ``"others"`` than the target.
        seed: Of drawn classes.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range, or there is no other class than the target.
    """

    num_classes: int = 10
    choice: Literal["confidence", "seed"] = "confidence"
    among: Literal["all", "others"] = "others"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.num_classes, "num_classes")
        check_choice(self.choice, ("confidence", "seed"), "choice")
        check_choice(self.among, ("all", "others"), "among")
        check_count(self.seed, "seed", least=-math.inf)

    @property
    def inputs(self) -> frozenset[str]:
        """Of all classes, the target is not told from the others."""
        own = frozenset({"model", "images", "explainer"})
        return own | {"target"} if self.among == "others" else own

    def evaluations(self, explaining: int = 1) -> int:
        """Return the cost of ``num_classes`` heatmaps, and the unchanged image."""
        return self.num_classes * explaining + 1

    def collect(self, case: Case) -> ClassMaps:
        """Return the classes and their heatmaps."""
        explainer, classes = case.explainer, self._classes(case)
        maps = [explainer(case.classifier, case.images, column) for column in classes.unbind(1)]
        return ClassMaps(classes, torch.stack(maps, 1))

    def _classes(self, case: Case) -> Tensor:
        logits = case.logits
        count = logits.shape[1]
        if self.choice == "confidence":
            preference = logits  # in the order of the probabilities, but never equal where these round to 0 or 1
        else:
            preference = uniform(case.keys, (count,), seed=self.seed, purpose="classes")
        if self.among == "others":
            case.classifier.check_classes(logits, case.target)
            if count < 2:
                raise ValueError("Expected the model to have a class beside the target, but it has only one.")
            preference = preference.scatter(1, case.target[:, None], -torch.inf)
            count -= 1
        order = preference.argsort(dim=1, descending=True, stable=True)
        return order[:, : min(self.num_classes, count)]
