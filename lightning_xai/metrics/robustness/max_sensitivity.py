"""Max sensitivity."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class MaxSensitivity(ExplanationMetric):
    """How much can the heatmap change at most, when the image hardly changes?

    ``max_j ‖m(x) − m(x + ε_j)‖_F / ‖m(x)‖_F`` with ε uniform in (−radius, radius) per value, no clamping, raw
    heatmaps, and the class of the clean image; ≥ 0, lower is better. A zero heatmap is undefined; copies whose heatmap
    is zero count exactly 1. Values are skewed: for 32 images, value ± 2 standard errors holds the true mean in 88 to
    90 % of cases, not in 95 %. Every map that ignores the image is perfectly robust, Fake-CAM too: read it beside
    faithfulness.

    Evaluations per image: ``num_samples`` heatmaps.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019,
    https://arxiv.org/abs/1901.09392. captum divides by 1 where the norm is 0.

    Args:
        radius: Half width of the uniform noise, as a share of the range of the values; see `Neighbourhood`.
        num_samples: Noisy copies per image.
        relative: Whether the change is divided by the norm of the clean heatmap.
        seed: Of the noise.
        absolute: Whether ``radius`` is in the units of the images instead.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import Saliency
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[3.0, 0.0]])  # the heatmap of every noisy copy is 3 0
        >>> heatmaps = torch.tensor([[[3.0, 4.0]]])
        >>> metric = MaxSensitivity()
        >>> metric.update(model=net, images=torch.rand(1, 1, 1, 2), heatmaps=heatmaps, explainer=Saliency(), target=1)
        >>> metric.compute()  # 4 over 5
        tensor(0.8000)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    optional_inputs = frozenset({"value_range"})
    can_be_undefined = True
    in_default_suite = True

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
        self.neighbourhood = Neighbourhood(radius, num_samples, "uniform", seed, absolute)

    def score(self, case: Case) -> Tensor:
        """Return the largest change, (N,); NaN where the clean heatmap is zero and the change is relative."""
        return case[self.neighbourhood].change(relative=self.relative).amax(1)
