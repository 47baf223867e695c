"""Local Lipschitz estimate."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        radius: Standard deviation of the gaussian noise, as a share of the range of the values; see `Neighbourhood`.
        num_samples: Noisy copies per image.
        relative: Whether the change is divided by the norm of the clean heatmap.
        seed: Of the noise.
        absolute: Whether ``radius`` is in the units of the images instead.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import InputXGradient
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, 2.0]])  # the heatmap is twice the image, and moves twice as far
        >>> metric = LocalLipschitz()
        >>> images = torch.tensor([[[[3.0, 4.0]]]])
        >>> metric.update(model=net, images=images, explainer=InputXGradient(), target=1)
        >>> metric.compute()  # 2 over ‖6 8‖
        tensor(0.2000)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    optional_inputs = frozenset({"value_range"})
    can_be_undefined = True

    def __init__(
        self,
        radius: float = 0.02,
        num_samples: int = 10,
        relative: bool = True,
        seed: int = 0,
        absolute: bool = False,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.radius = radius
        self.num_samples = num_samples
        self.relative = relative
        self.seed = seed
        self.absolute = absolute
        self.neighbourhood = Neighbourhood(radius, num_samples, "gaussian", seed, absolute)

    def score(self, case: Case) -> Tensor:
        """Return the largest ratio, (N,); NaN where the clean heatmap is zero and the change is relative."""
        neighbours = case[self.neighbourhood]
        distance = neighbours.image_distance.clamp(min=torch.finfo(torch.float32).tiny)
        return (neighbours.change(relative=self.relative) / distance).amax(1)
