"""ROAD, remove and debias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Order, Ties
from lightning_xai.evidence.masking.imputation_curve import ImputationCurve
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

Direction: TypeAlias = Literal["morf", "lerf", "combined"]

_CURVES_OF: dict[str, tuple[Order, ...]] = {"morf": ("morf",), "lerf": ("lerf",), "combined": ("morf", "lerf")}


class ROAD(ExplanationMetric):
    """Does the class score fall when relevant pixels are removed without leaving a visible hole?

    Mean probability of the target class after the given percentages of pixels are replaced by noisy linear imputation:
    each removed pixel is the weighted mean of its neighbours, so that the shape of the removed area gives nothing
    away. In [0, 1], lower is better for ``order="morf"``, higher for ``"lerf"``; ``"combined"`` is (lerf − morf) / 2
    in [-0.5, 0.5], higher is better. Fake-CAM does not fool it: equal pixels are removed in random order.

    Evaluations per image: one per percentage, twice for ``combined``.

    Source: Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022,
    https://arxiv.org/abs/2202.00449, who report accuracy; here the probability, as pytorch-grad-cam does.

    Args:
        percentages: Of pixels that are removed.
        order: Most or least relevant first, or half the difference least − most.
        noise: Standard deviation of the noise as a share of the image's range.
        seed: Of noise and random ties.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = ROAD(percentages=(50.0,), noise=0.0)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # without the first pixel, which becomes like the second
        tensor(0.5000)
    """

    range = (0.0, 1.0)

    def __init__(
        self,
        percentages: Sequence[float] = (20.0, 40.0, 60.0, 80.0),
        order: Direction = "morf",
        noise: float = 0.01,
        seed: int = 0,
        ties: Ties = "random",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        check_choice(order, tuple(_CURVES_OF), "order")
        self.percentages = tuple(percentages)
        self.order: Direction = order
        self.noise = noise
        self.seed = seed
        self.ties: Ties = ties
        self.curves = tuple(ImputationCurve(self.percentages, way, noise, seed, ties) for way in _CURVES_OF[order])
        if order == "combined":
            self.range = (-0.5, 0.5)  # type: ignore[misc]

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Only where the most relevant pixels go first is a lower score better."""
        return self.order != "morf"

    def score(self, case: Case) -> Tensor:
        """Return the mean probability, or half the difference of the two, (N,)."""
        means = [case[curve].mean(1) for curve in self.curves]
        return means[0] if len(means) == 1 else (means[1] - means[0]) / 2
