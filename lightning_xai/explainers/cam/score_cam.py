"""Score-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_choice
from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView
from lightning_xai.model.classifier import Score

Weights = Literal["softmax", "probability"]


class ScoreCAM(LayerExplainer):
    """Weigh each feature map by the score of the image seen through it; no gradient.

    ``ReLU(Σ_k w_k A_k)``, ``w = softmax_k y(x ⊙ n(up(A_k)))``: up resizes to the image (bilinear), n is min-max to
    [0, 1], what is masked becomes the baseline, 0 by default. Unit of the activations, ≥ 0. The empty image's score,
    which the paper subtracts, cancels in the softmax. Constant feature maps mask nothing: their weight is 0, and they
    are not evaluated. Costs one evaluation per image and feature map, and one more: 513 for the last layer of a
    ResNet-18, 2,049 for that of a ResNet-50.

    Source: Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", CVPR
    Workshops 2020, https://arxiv.org/abs/1910.01279. The authors' code weighs by probabilities, without a softmax over
    the feature maps: ``weights="probability"``.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.
        weights: ``"softmax"`` of the logits over the feature maps, as in the paper, or ``"probability"``.
        baseline: What is masked becomes; see `baseline_images`.

    Raises:
        ValueError: If ``weights`` is neither.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> images = torch.tensor([[[[0.0, 4.0]], [[2.0, 0.0]]]])  # masked by each channel: logits (2, 0) and (0, 1)
        >>> ScoreCAM()(net, images, target=0).round(decimals=3)  # softmax (2, 0)
        tensor([[[0.2380, 3.5230]]])
    """

    needs_gradients = False

    def __init__(
        self,
        target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto",
        *,
        relu: bool = True,
        weights: Weights = "softmax",
        baseline: Baseline = 0.0,
    ) -> None:
        check_choice(weights, ("softmax", "probability"), "weights")
        super().__init__(target_layer, relu=relu)
        self.weights: Weights = weights
        self.baseline = checked_baseline(baseline)

    @property
    def evaluations(self) -> None:
        """One per feature map, which depends on the network."""
        return

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return the softmax, or the probabilities, of the images seen through each feature map."""
        activations = layer.activations
        rows, channels = (activations.amax((2, 3)) > activations.amin((2, 3))).nonzero(as_tuple=True)
        weights = torch.full(activations.shape[:2], -torch.inf, device=activations.device)
        if len(rows):
            weights[rows, channels] = self._scores(layer, rows, channels)
        if self.weights == "softmax":
            weights = weights.softmax(1).nan_to_num(0.0)  # of an image whose feature maps are all constant
        return weights.clamp(min=0.0)[:, :, None, None]

    def _scores(self, layer: LayerView, rows: Tensor, channels: Tensor) -> Tensor:
        """Return the score of each of some images (rows) seen through one of its channels."""
        images = layer.images
        hidden = baseline_images(images, self.baseline).expand_as(images)

        def masked(chunk: slice) -> Tensor:
            maps = layer.activations[rows[chunk], channels[chunk]][:, None]
            masks = F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)
            low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
            seen = ((masks - low) / torch.where(high > low, high - low, 1.0)).to(images.dtype)
            return images[rows[chunk]] * seen + hidden[rows[chunk]] * (1.0 - seen)

        def read(logits: Tensor, chunk: slice) -> Tensor:
            score: Score = "logit" if self.weights == "softmax" else "probability"
            return layer.classifier.select(logits, layer.target[rows[chunk]], score)

        return layer.classifier.evaluate(len(rows), masked, read, owners=lambda chunk: rows[chunk])
