"""Integrated gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_count
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.explainers.gradient.target_gradient import at_least_float
from lightning_xai.model.backward.logits_module import LogitsModule
from lightning_xai.model.classifier import Classifier


class IntegratedGradients(PixelExplainer):
    """Add up the gradient on the straight path from an empty image to this one; the map sums to the change of score.

    ``Σ_c (x − x')_c · ∫₀¹ ∂y/∂x_c (x' + α (x − x')) dα``: signed, unit of the logit. Complete: the map sums to
    ``y(x) − y(x')`` up to the error of the integral, taken by Gauss-Legendre quadrature (captum's default rule, by
    captum; the paper uses a Riemann sum). Costs ``num_steps`` evaluations per image; memory does not grow with them.

    Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017,
    https://arxiv.org/abs/1703.01365.

    Args:
        num_steps: Points of the quadrature.
        baseline: The image x' from which the path starts; see `baseline_images`.
        reduction: See `PixelExplainer`; only ``"sum"`` is complete.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range; when called, if the baseline does not fit the images.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, -3.0]])
        >>> IntegratedGradients(8)(net, torch.tensor([[[[5.0, 1.0]]]]), target=1).round()
        tensor([[[10., -3.]]])
    """

    def __init__(self, num_steps: int = 50, baseline: Baseline = 0.0, *, reduction: Reduction = "sum") -> None:
        super().__init__(reduction=reduction)
        check_count(num_steps, "num_steps")
        self.num_steps = num_steps
        self.baseline = checked_baseline(baseline)

    @property
    def evaluations(self) -> int:
        """``num_steps``."""
        return self.num_steps

    @property
    def completeness(self) -> bool:
        """Whether channels are summed."""
        return self.reduction == "sum"

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return ``(x − x') ⊙ ∫ ∂y/∂x``."""
        from captum.attr import IntegratedGradients as Captum

        images = at_least_float(images)
        attributions: Tensor = Captum(LogitsModule(classifier)).attribute(
            images,
            baseline_images(images, self.baseline).expand_as(images),
            target,
            additional_forward_args=torch.arange(len(images), device=images.device),
            n_steps=self.num_steps,
            internal_batch_size=classifier.chunk_size,
        )
        return attributions
