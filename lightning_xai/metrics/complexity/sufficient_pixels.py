"""Sufficient pixels."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class SufficientPixels(ExplanationMetric):
    """How few of the most relevant pixels does the model need?

    Least share k / N of pixels on the insertion curve with ``(f(x) − f(x_k))² ≤ tolerance · f(x)²``; in [0, 1], lower
    is better. Always defined: the last point is the image itself. Fake-CAM does not fool it: a constant map needs as
    many pixels as a random one.

    Evaluations per image: ``num_steps + 1``, shared with an `InsertionAUC` of as many equal parts.

    Source: after the effective complexity of Nguyen & Martínez, "On quantitative aspects of model interpretability",
    2020, https://arxiv.org/abs/2007.07584.

    Args:
        num_steps: Equal parts of the insertion curve.
        tolerance: Squared deviation allowed, as a share of the squared score.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
        >>> net[1].weight.data, net[1].bias.data = torch.tensor([[20.0, 0.0, 0.0, 0.0]]), torch.tensor([-10.0])
        >>> images, heatmaps = torch.ones(1, 1, 1, 4), torch.tensor([[[3.0, 4.0, 2.0, 1.0]]])
        >>> metric = SufficientPixels(num_steps=4)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # the first pixel decides, and comes back second of four
        tensor(0.5000)
    """

    higher_is_better = False
    range = (0.0, 1.0)
    inputs = frozenset({"images"})

    def __init__(
        self,
        num_steps: int = 32,
        tolerance: float = 0.1,
        ties: Ties = "random",
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        check_count(num_steps, "num_steps")
        super().__init__(**options)
        self.num_steps = num_steps
        self.tolerance = tolerance
        self.ties: Ties = ties
        self.seed = seed
        self.curve = MaskingCurve("insertion", "blur", num_steps, ties=ties, seed=seed)

    def score(self, case: Case) -> Tensor:
        """Return the least sufficient share of pixels, (N,)."""
        curve = case[self.curve]
        intact = curve[:, -1:]
        enough = (intact - curve).square() <= self.tolerance * intact.square()
        first: Tensor = enough.float().argmax(1)
        pixels = case.images.shape[2] * case.images.shape[3]
        return ((first.double() * pixels / (curve.shape[1] - 1)).round() / pixels).float()
