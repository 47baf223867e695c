"""What methods share that attribute to every value of the image: how channels become one map."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.explainers.gradient.reduction import Reduction, check_reduction, reduced
from lightning_xai.model.classifier import Classifier


class PixelExplainer(Explainer):
    """Explain by one attribution per value of the image; a subclass overrides `attributions`.

    Args:
        reduction: How the channels of a pixel become one value: ``"sum"`` (signed, keeps the total), ``"abs_max"``
            (greatest magnitude, ≥ 0) or ``"max"`` (greatest after scaling to [0, 1]); see `reduced`.

    Raises:
        ValueError: If ``reduction`` is none of these.
    """

    def __init__(self, *, reduction: Reduction = "sum") -> None:
        check_reduction(reduction)
        self.reduction: Reduction = reduction

    @abstractmethod
    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return attributions (n, C, H, W) of one chunk of images."""

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return the reduced attributions, (n, H, W)."""
        return reduced(self.attributions(classifier, images, target), self.reduction)
