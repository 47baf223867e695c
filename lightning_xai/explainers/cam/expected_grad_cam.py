"""Expected Grad-CAM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_at_least, check_choice, check_count
from lightning_xai._randomness import uniform
from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView
from lightning_xai.explainers.noise import Noise, noisy_copy
from lightning_xai.explainers.reference_explainer import ReferenceExplainer


class ExpectedGradCAM(ReferenceExplainer, LayerExplainer):
    """Weigh each feature map by what it adds on the way from other images of the data to this one.

    ``ReLU(Σ_k w_k A_k(x))``, ``w_k = mean_ij P_k``, ``P = mean_s (A(x̃) − A(x')) ⊙ ∂y(γ)/∂A``, ``γ = x' + α (x̃ − x')``:
    each sample s draws a reference x', α from U(0, 1) and a noisy copy x̃ of x, the same draws for every image. Unit of
    the logit times that of the activations, ≥ 0. Costs 2 ``num_samples`` + 1 evaluations per image (``num_samples`` + 1
    without noise) and ``num_samples`` per chunk of images for the references, which all images share.

    Source: Buono et al., "Expected Grad-CAM: Towards gradient faithfulness", 2024, https://arxiv.org/abs/2406.01274,
    eq. 10 to 22; the authors published no code. Left open there and chosen here: the difference is A(x̃) − A(x') and not
    A(x − x') (eq. 21 names both arguments; completeness, remark 3.2, needs the former); the smoothing kernel is the
    average over noisy copies (inverting eq. 16 literally gives dead maps); uniform noise is centred (U(0, 1) as it is
    would brighten every image); its size; x' is drawn with replacement; weights are not normalised. 25 samples as in
    appendix B.1.

    Args:
        target_layer: See `LayerExplainer`.
        references: Images of the data (R, C, H, W); see `ReferenceExplainer`.
        relu: See `LayerExplainer`.
        num_samples: References and places on the path.
        noise: ``"uniform"`` as in the paper's experiments, or ``"gaussian"``.
        noise_level: Standard deviation of the noise, as a share of each image's max − min; 0 for none.
        seed: Of all draws.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range; when called, if there are no references or their size differs.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2, bias=False))
        >>> _ = nn.init.constant_(net[3].weight, 2.0)
        >>> explainer = ExpectedGradCAM(references=torch.full((4, 1, 1, 2), 0.5), noise_level=0.0)
        >>> explainer(net, torch.tensor([[[[1.0, 3.0]]]]), target=0)  # weight 2/2 · (2 − 0.5)
        tensor([[[1.5000, 4.5000]]])
    """

    needs_gradients = False  # of the images themselves
    shares_passes = True

    def __init__(
        self,
        target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto",
        references: Tensor | None = None,
        *,
        relu: bool = True,
        num_samples: int = 25,
        noise: Noise = "uniform",
        noise_level: float = 0.05,
        seed: int = 0,
    ) -> None:
        check_count(num_samples, "num_samples")
        check_choice(noise, ("uniform", "gaussian"), "noise")
        check_at_least(noise_level, 0, "noise_level")
        check_count(seed, "seed", least=-math.inf)
        ReferenceExplainer.__init__(self, references)
        LayerExplainer.__init__(self, target_layer, relu=relu)
        self.num_samples = num_samples
        self.noise: Noise = noise
        self.noise_level = noise_level
        self.seed = seed

    @property
    def evaluations(self) -> None:
        """Unknown per image: a chunk's images share the references'."""
        return

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``mean_ij P_k``."""
        return self.products(layer).mean((2, 3), keepdim=True)

    def products(self, layer: LayerView) -> Tensor:
        """Return P (n, C, h, w), a chunk of references at a time."""
        images = layer.images
        references, starts, alphas = self._draws(images)
        total = torch.zeros_like(layer.activations)
        for chunk in layer.classifier.chunks(self.num_samples):
            drawn = references[starts[chunk]]
            of_references = layer.of_references(drawn).activations
            for sample, start, reference in zip(range(self.num_samples)[chunk], drawn, of_references, strict=True):
                noisy = noisy_copy(images, self.noise_level, seed=self.seed, sample=sample, noise=self.noise)
                between = layer.of(start + alphas[sample] * (noisy - start), gradients=True)
                here = layer if self.noise_level == 0 else layer.of(noisy, gradients=False)
                total = total + (here.activations - reference) * between.gradients
        return total / self.num_samples

    def _draws(self, images: Tensor) -> tuple[Tensor, Tensor, list[float]]:
        """Return the references, and of each sample which one it starts from, int64, and its α."""
        references = self.references_for(images)
        samples = torch.arange(self.num_samples, device=images.device)
        drawn = uniform(torch.zeros_like(samples), (2,), seed=self.seed, sample=samples, purpose="path")
        return references, (drawn[:, 0] * len(references)).long(), drawn[:, 1].tolist()
