"""Expected gradients, also known as GradientSHAP."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai._randomness import random_bits, uniform
from lightning_xai.explainers.gradient.reduction import Reduction, check_reduction, reduced
from lightning_xai.explainers.gradient.target_gradient import at_least_float, summed_gradients
from lightning_xai.explainers.reference_explainer import ReferenceExplainer
from lightning_xai.model.classifier import Classifier


class ExpectedGradients(ReferenceExplainer):
    """Integrate gradients from images of the data instead of from an empty one, and average (GradientSHAP).

    ``Σ_c mean_s (x − x'_s)_c · ∂y/∂x_c (x'_s + α_s (x − x'_s))``, ``x'_s`` drawn from the references and ``α_s`` from
    U(0, 1): signed, unit of the logit. *In expectation* it sums to ``y(x) − mean y(x')``; a finite number of samples
    misses that by their standard error, so completeness is not promised. Draws belong to (seed, sample): the same for
    every image, batch and epoch. Costs ``num_samples`` evaluations per image; memory does not grow with them.

    Source: Erion et al., "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 2021, https://arxiv.org/abs/1906.10670. No noise is added to the image, as
    is the default elsewhere.

    Args:
        references: See `ReferenceExplainer`.
        num_samples: Draws of reference and position on the path.
        seed: Of the draws.
        reduction: See `PixelExplainer`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``num_samples`` is below 1; see `ReferenceExplainer`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, -3.0]])
        >>> black = torch.zeros(1, 1, 1, 2)
        >>> ExpectedGradients(black, 4)(net, torch.tensor([[[[5.0, 1.0]]]]), target=1)
        tensor([[[10., -3.]]])
    """

    def __init__(
        self,
        references: Tensor | None = None,
        num_samples: int = 50,
        seed: int = 0,
        *,
        reduction: Reduction = "sum",
    ) -> None:
        super().__init__(references)
        check_count(num_samples, "num_samples")
        check_count(seed, "seed", least=-math.inf)
        check_reduction(reduction)
        self.num_samples = num_samples
        self.seed = seed
        self.reduction: Reduction = reduction

    @property
    def evaluations(self) -> int:
        """``num_samples``."""
        return self.num_samples

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return the reduced attributions, (n, H, W)."""
        images = at_least_float(images)
        references = self.references_for(images)
        keys = torch.zeros(1, dtype=torch.int64, device=images.device)
        alpha = uniform(keys, (self.num_samples,), seed=self.seed, purpose="alpha")[0]
        chosen = random_bits(keys, (self.num_samples,), seed=self.seed, purpose="reference")[0] % len(references)

        def sample(index: int) -> tuple[Tensor, Tensor]:
            reference = references[chosen[index]]
            change = images - reference
            return reference + alpha[index] * change, change / self.num_samples

        return reduced(summed_gradients(classifier, images, target, self.num_samples, sample), self.reduction)
