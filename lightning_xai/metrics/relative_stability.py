"""What the three relative stabilities share: the change of the heatmap over a change of the model's own."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbour_outputs import LEAST, NeighbourOutputs, OutputChanges, Relative
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class RelativeStability(ExplanationMetric):
    """Largest relative change of the heatmap over a change of something else, among copies that keep the prediction.

    A subclass says what else by `denominator`.

    Args:
        radius: Half width of the uniform noise, as a share of the range of the values; see `Neighbourhood`.
        num_samples: Noisy copies per image.
        relative: ``"norm"``, the norm of a change over the norm of the clean value; or ``"elementwise"``, the norm of
            the change divided element by element, as published.
        seed: Of the noise.
        absolute: Whether ``radius`` is in the units of the images instead.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    optional_inputs = frozenset({"value_range"})
    can_be_undefined = True

    def __init__(
        self,
        radius: float = 0.02,
        num_samples: int = 10,
        relative: Relative = "norm",
        seed: int = 0,
        absolute: bool = False,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.radius = radius
        self.num_samples = num_samples
        self.relative: Relative = relative
        self.seed = seed
        self.absolute = absolute
        neighbourhood = Neighbourhood(radius, num_samples, "uniform", seed, absolute)
        self.outputs = NeighbourOutputs(neighbourhood, relative)
        # norms of the heatmaps' changes are those that the sensitivities read; elementwise ones come with the outputs
        self.neighbourhood = neighbourhood if relative == "norm" else None

    @abstractmethod
    def denominator(self, outputs: OutputChanges) -> Tensor:
        """Return what the heatmap's change is divided by, (N, J); at least 1e-6 of it counts."""

    def score(self, case: Case) -> Tensor:
        """Return the largest ratio, (N,); NaN where the clean heatmap is zero or no copy keeps the prediction."""
        outputs = case[self.outputs]
        ratio = self._heatmap_change(case, outputs) / self.denominator(outputs).clamp(min=LEAST)
        largest = torch.where(outputs.same_prediction, ratio, -torch.inf).amax(1)
        return torch.where(outputs.same_prediction.any(1), largest, torch.nan)

    def _heatmap_change(self, case: Case, outputs: OutputChanges) -> Tensor:
        if outputs.heatmap is not None:
            return outputs.heatmap
        return case[self.outputs.neighbourhood].change(relative=True)
