"""Local Lipschitz estimate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood, Neighbours
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def local_lipschitz(
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
    """Return the steepest change of each image's heatmap under noise, float32 (N,) ≥ 0; see `LocalLipschitz`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the clean images, float (N, H, W); made by ``explainer`` if None.
        radius: Standard deviation of the gaussian noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: Whether the change is divided by the norm of the clean heatmap.
        seed: Of the noise.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> local_lipschitz(torch.nn.Flatten(), torch.rand(1, 1, 2, 2), CenterHeatmap(), target=0)
        tensor([0.])
    """
    metric = LocalLipschitz(radius, num_samples, relative, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


class LocalLipschitz(ExplanationMetric):
    """How steeply does the heatmap change around the image?

    ``max_j (‖m(x) − m(x_j)‖₂ / ‖m(x)‖₂) / ‖x − x_j‖₂`` over copies ``x_j = x + ε_j`` with gaussian noise of standard
    deviation ``radius``, no clamping, raw heatmaps, and the class of the clean image; ≥ 0, in units of one over the
    images', lower is better. A zero heatmap is undefined. Every map that ignores the image is perfectly robust,
    Fake-CAM too: read it beside faithfulness.

    Evaluations per image: ``num_samples`` heatmaps.

    Source: Alvarez-Melis and Jaakkola, "On the Robustness of Interpretability Methods", 2018,
    https://arxiv.org/abs/1806.08049, which searches the ball for the maximum and does not divide by ‖m(x)‖
    (``relative=False``); Quantus samples 200 copies with a deviation of 0.1.

    Args:
        radius: Standard deviation of the gaussian noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: Whether the change is divided by the norm of the clean heatmap.
        seed: Of the noise.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> metric = LocalLipschitz()
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
        super().__init__([Neighbourhood(radius, num_samples, "gaussian", seed)], {"relative": relative}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the largest ratio, (N,); NaN where the clean heatmap is zero and the change is relative."""
        neighbours: Neighbours = case[self.evidence[0]]
        distance = neighbours.image_distance.clamp(min=torch.finfo(torch.float32).tiny)
        return (neighbours.change(relative=self.settings["relative"]) / distance).amax(1)
