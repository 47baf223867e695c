"""What the three relative stabilities share: the change of the heatmap over a change of the model's own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbour_outputs import LEAST, NeighbourOutputs, OutputChanges, Relative
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood, Neighbours
from lightning_xai.metrics.metric import ExplanationMetric


class RelativeStability(ExplanationMetric):
    """Largest relative change of the heatmap over a change of something else, among copies that keep the prediction.

    A subclass says what else by `denominator`.

    Args:
        radius: Half width of the uniform noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: ``"norm"``, the norm of a change over the norm of the clean value; or ``"elementwise"``, the norm of
            the change divided element by element, as published.
        seed: Of the noise.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(
        self,
        radius: float = 0.02,
        num_samples: int = 10,
        relative: Relative = "norm",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        neighbourhood = Neighbourhood(radius, num_samples, "uniform", seed)
        outputs = NeighbourOutputs(neighbourhood, relative)
        evidence = [neighbourhood, outputs] if relative == "norm" else [outputs]
        super().__init__(evidence, **kwargs)

    @abstractmethod
    def denominator(self, outputs: OutputChanges) -> Tensor:
        """Return what the heatmap's change is divided by, (N, J); at least 1e-6 of it counts."""

    def score(self, case: Case) -> Tensor:
        """Return the largest ratio, (N,); NaN where the clean heatmap is zero or no copy keeps the prediction."""
        outputs: OutputChanges = case[self.evidence[-1]]
        change = outputs.heatmap
        if change is None:
            neighbours: Neighbours = case[self.evidence[0]]
            change = neighbours.change(relative=True)
        ratio = change / self.denominator(outputs).clamp(min=LEAST)
        largest = torch.where(outputs.kept, ratio, -torch.inf).amax(1)
        return torch.where(outputs.kept.any(1), largest, torch.nan)
