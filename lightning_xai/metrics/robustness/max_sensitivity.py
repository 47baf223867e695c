"""Max sensitivity."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood, Neighbours
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def max_sensitivity(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    radius: float = 0.02,
    num_samples: int = 10,
    relative: bool = True,
    seed: int = 0,
) -> Tensor:
    """Return the largest change of each image's heatmap under noise, float32 (N,) ≥ 0; see `MaxSensitivity`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the clean images, float (N, H, W); made by ``explainer`` if None.
        radius: Half width of the uniform noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: Whether the change is divided by the norm of the clean heatmap.
        seed: Of the noise.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> max_sensitivity(torch.nn.Flatten(), torch.rand(1, 1, 2, 2), CenterHeatmap(), target=0)
        tensor([0.])
    """
    metric = MaxSensitivity(radius, num_samples, relative, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


class MaxSensitivity(ExplanationMetric):
    """How much can the heatmap change at most, when the image hardly changes?

    ``max_j ‖m(x) − m(x + ε_j)‖_F / ‖m(x)‖_F`` with ε uniform in (−radius, radius) per value, no clamping, raw
    heatmaps, and the class of the clean image; ≥ 0, lower is better. A zero heatmap is undefined; copies whose heatmap
    is zero count exactly 1. Every map that ignores the image is perfectly robust, Fake-CAM too: read it beside
    faithfulness.

    Evaluations per image: ``num_samples`` heatmaps.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019,
    https://arxiv.org/abs/1901.09392. captum divides by 1 where the norm is 0.

    Args:
        radius: Half width of the uniform noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: Whether the change is divided by the norm of the clean heatmap.
        seed: Of the noise.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> metric = MaxSensitivity()
        >>> metric.update(model=torch.nn.Flatten(), images=torch.rand(1, 1, 2, 2), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()
        tensor(0.)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(
        self, radius: float = 0.02, num_samples: int = 10, relative: bool = True, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__([Neighbourhood(radius, num_samples, "uniform", seed)], {"relative": relative}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the largest change, (N,); NaN where the clean heatmap is zero and the change is relative."""
        neighbours: Neighbours = case[self.evidence[0]]
        return neighbours.change(relative=self.settings["relative"]).amax(1)
