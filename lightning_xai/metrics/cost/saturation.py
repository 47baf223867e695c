"""Saturation of the target layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.evidence.neighbours.scaled_images import Scaled, ScaledImages
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def saturation(model: Model, images: Tensor, *, num_steps: int = 25, target_layer: str = "auto") -> Tensor:
    """Return how early the target layer's answer to each image settles, float32 (N,) in [-1, 1]; see `Saturation`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        num_steps: Values of α.
        target_layer: ``"auto"`` or a dotted name.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> saturation(net, torch.rand(1, 2, 4, 4), target_layer="0")  # linear: the direction never changes
        tensor([1.])
    """
    return Saturation(num_steps, target_layer).score(Case(model, images))


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``num_steps`` is below 2.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> metric = Saturation(target_layer="0")
        >>> metric.update(model=net, images=torch.rand(1, 2, 4, 4))
        >>> metric.compute().round(decimals=4)
        tensor(1.)
    """

    higher_is_better = None
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(self, num_steps: int = 25, target_layer: str = "auto", **kwargs: Any) -> None:
        scaled = ScaledImages(num_steps, target_layer)
        super().__init__([scaled], **kwargs)
        self._scaled = scaled

    def score(self, case: Case) -> Tensor:
        """Return the area under the cosine's curve, (N,)."""
        found: Scaled = case[self._scaled]
        return area(found.cosine)

    def curves(self, case: Case) -> SaturationCurves:
        """Return the curves of a case with a target; its evidence is shared with `score`."""
        found: Scaled = case[self._scaled]
        classifier, steps = case.classifier, found.logits.shape[1]
        logits, target = found.logits.flatten(0, 1), case.target.repeat_interleave(found.logits.shape[1])
        probability, logit = (
            classifier.select(logits, target, score).view(-1, steps) for score in ("probability", "logit")
        )
        return SaturationCurves(self._scaled.alphas, found.cosine, probability, logit)
