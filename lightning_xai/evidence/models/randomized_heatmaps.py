"""What the explainer says about a model whose parameters are drawn anew, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, check_count
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.model.randomized import ORDERS, RandomizationOrder, randomized
from lightning_xai.model.readout import called_module

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class RandomizedHeatmaps(Evidence[Tensor]):
    """Heatmaps (N, steps, H, W) of the target after each step of `randomized`; the intact model's is not among them.

    Costs at most ``num_steps`` explanations per image, fewer where the model has fewer layers. Only the part of the
    model that gives the logits is redrawn; everything is put back bit for bit.

    Args:
        order: ``"top_down"`` or ``"bottom_up"``, cumulative, or ``"independent"``.
        num_steps: Most groups of layers.
        seed: Of the new parameters.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target", "explainer"})

    order: RandomizationOrder = "top_down"
    num_steps: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.order, ORDERS, "order")
        check_count(self.num_steps, "num_steps")
        check_count(self.seed, "seed", least=-math.inf)

    def evaluations(self, explaining: int = 1) -> int:
        """Return the cost of ``num_steps`` heatmaps."""
        return self.num_steps * explaining

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, steps, H, W)."""
        classifier, explainer = case.classifier, case.explainer
        network = called_module(classifier.model, classifier.readout.forward)
        with randomized(network, self.order, self.num_steps, self.seed) as steps:
            maps = [explainer(classifier, case.images, case.target) for _ in steps]
        return torch.stack(maps, 1)
