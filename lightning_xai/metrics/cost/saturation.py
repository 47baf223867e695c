"""Saturation of the target layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.evidence.neighbours.scaled_images import ScaledImages
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


@dataclass(frozen=True)
class SaturationCurves:
    """What `Saturation` is the summary of, at S values of α.

    Attributes:
        alphas: Ascending to 1, S numbers.
        cosine: cos(A(αx), A(x)) of the target layer, float32 (N, S) in [-1, 1].
        probability: f(αx), the target's probability, float32 (N, S) in [0, 1].
        logit: y(αx), the target's logit, float32 (N, S).
    """

    alphas: list[float]
    cosine: Tensor
    probability: Tensor
    logit: Tensor


class Saturation(ExplanationMetric):
    """Has the target layer said all it has to say long before the image reaches full intensity?

    Area, normalised to [-1, 1], under cos(A(αx), A(x)) of the flattened activations A of the target layer over
    ``num_steps`` values of α evenly in (0, 1]. Near 1 the layer's answer hardly changes along the way, so that a
    gradient at the image sees little; without direction. It is about model and images and needs no heatmap. Undefined
    where all activations of the image are zero. Fake-CAM does not matter to it. `curves` gives the curve, and
    those of the target's probability and logit.

    Evaluations per image: ``num_steps``, and one image once per model for ``target_layer="auto"``.

    Source: Buono et al., "Expected Grad-CAM: Towards gradient faithfulness", 2024, https://arxiv.org/abs/2406.01274,
    appendix B.1 (with α drawn at random), after Sundararajan, Taly and Yan, "Gradients of Counterfactuals", 2016,
    https://arxiv.org/abs/1611.02639.

    Args:
        num_steps: Values of α.
        target_layer: ``"auto"`` or a dotted name; see `LayerExplainer`.
        **options: Of `torchmetrics.Metric`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``num_steps`` is below 2.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Flatten())
        >>> net[0].weight.data, net[0].bias.data = torch.ones(1, 1, 1, 1), torch.ones(1)
        >>> metric = Saturation(num_steps=2, target_layer="0")
        >>> metric.update(model=net, images=torch.tensor([[[[4.0, 0.0]]]]))
        >>> metric.compute()  # activations 3 1 halfway, 5 1 at the end: the mean of 16 / √260 and 1
        tensor(0.9961)
    """

    higher_is_better = None
    range = (-1.0, 1.0)
    inputs = frozenset()
    can_be_undefined = True

    def __init__(self, num_steps: int = 25, target_layer: str = "auto", **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.num_steps = num_steps
        self.target_layer = target_layer
        self.scaled = ScaledImages(num_steps, target_layer)

    def score(self, case: Case) -> Tensor:
        """Return the area under the cosine's curve, (N,)."""
        return area(case[self.scaled].cosine)

    def curves(self, case: Case) -> SaturationCurves:
        """Return the curves of a case with a target; its evidence is shared with `score`."""
        scaled, classifier = case[self.scaled], case.classifier
        images, steps = scaled.cosine.shape
        logits, target = scaled.logits.flatten(0, 1), case.target.repeat_interleave(steps)
        probability, logit = (
            classifier.select(logits, target, score).view(images, steps) for score in ("probability", "logit")
        )
        return SaturationCurves(self.scaled.alphas, scaled.cosine, probability, logit)
