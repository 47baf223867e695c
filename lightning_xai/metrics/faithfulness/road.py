"""ROAD, remove and debias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.imputation_curve import ImputationCurve
from lightning_xai.evidence.masking.ranking import Order
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def road(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    percentages: Sequence[float] = (20.0, 40.0, 60.0, 80.0),
    order: Literal["morf", "lerf", "combined"] = "morf",
    noise: float = 0.01,
    seed: int = 0,
) -> Tensor:
    """Return the ROAD score of each image, float32 (N,); lower is better for most relevant first; see `ROAD`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        percentages: Of pixels that are removed.
        order: Most or least relevant first, or half the difference least − most.
        noise: Standard deviation of the noise as a share of the image's range.
        seed: Of noise and random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> road(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = ROAD(percentages, order, noise, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


def _ways(order: str) -> tuple[Order, ...]:
    check_choice(order, ("morf", "lerf", "combined"), "order")
    ways: dict[str, tuple[Order, ...]] = {"morf": ("morf",), "lerf": ("lerf",), "combined": ("morf", "lerf")}
    return ways[order]


class ROAD(ExplanationMetric):
    """Does the class score fall when relevant pixels are removed without leaving a visible hole?

    Mean probability of the target class after the given percentages of pixels are replaced by noisy linear imputation:
    each removed pixel is the weighted mean of its neighbours, so that the shape of the removed region gives nothing
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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = ROAD()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    range = (0.0, 1.0)

    def __init__(
        self,
        percentages: Sequence[float] = (20.0, 40.0, 60.0, 80.0),
        order: Literal["morf", "lerf", "combined"] = "morf",
        noise: float = 0.01,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [ImputationCurve(tuple(percentages), way, noise, seed) for way in _ways(order)], {"order": order}, **kwargs
        )
        if order == "combined":
            self.range = (-0.5, 0.5)  # type: ignore[misc]

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Only where the most relevant pixels go first is a lower score better."""
        return bool(self.settings["order"] != "morf")

    def score(self, case: Case) -> Tensor:
        """Return the mean probability, or half the difference of the two, (N,)."""
        means: list[Tensor] = [case[curve].mean(1) for curve in self.evidence]
        return means[0] if len(means) == 1 else (means[1] - means[0]) / 2
