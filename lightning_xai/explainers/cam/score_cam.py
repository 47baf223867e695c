"""Score-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_choice, check_count
from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView
from lightning_xai.explainers.cam.representatives import representatives
from lightning_xai.model.classifier import Score

Weights = Literal["softmax", "probability"]


class ScoreCAM(LayerExplainer):
    """Weigh each feature map by the score of the image seen through it; no gradient.

    ``ReLU(Σ_k w_k A_k)``, ``w = softmax_k y(x ⊙ n(up(A_k)))``: up resizes to the image (bilinear), n is min-max to
    [0, 1], what is masked becomes the baseline, 0 by default. Unit of the activations, ≥ 0. The empty image's score,
    which the paper subtracts, cancels in the softmax. Constant feature maps mask nothing: their weight is 0, and they
    are not evaluated. Costs one evaluation per image and feature map, and one more: 513 for the last layer of a
    ResNet-18, 2,049 for that of a ResNet-50.

    ``num_channels=64`` evaluates at most 64 feature maps per image: k-means finds masks that stand for all, and each
    feature map takes the score of the one nearest to it (`representatives`). Which these are can change with
    the image's noise: not for robustness metrics. Errors and costs: ``channel_error`` in benchmarks/README.md.

    Source: Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", CVPR
    Workshops 2020, https://arxiv.org/abs/1910.01279. The authors' code weighs by probabilities, without a softmax over
    the feature maps: ``weights="probability"``.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.
        weights: ``"softmax"`` of the logits over the feature maps, as in the paper, or ``"probability"``.
        baseline: What is masked becomes; see `baseline_images`.
        num_channels: Feature maps that are evaluated per image; all, as in the paper, if None.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``weights`` is neither, or ``num_channels`` is less than 1.

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
        num_channels: int | None = None,
    ) -> None:
        check_choice(weights, ("softmax", "probability"), "weights")
        if num_channels is not None:
            check_count(num_channels, "num_channels")
        super().__init__(target_layer, relu=relu)
        self.weights: Weights = weights
        self.baseline = checked_baseline(baseline)
        self.num_channels = num_channels

    @property
    def evaluations(self) -> None:
        """One per feature map, which depends on the network."""
        return

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return the softmax, or the probabilities, of the images seen through each feature map."""
        live = layer.activations.amax((2, 3)) > layer.activations.amin((2, 3))
        stand_in = self._stand_ins(layer.activations, live)
        evaluated = torch.zeros_like(live).scatter_(1, stand_in, value=True) & live
        rows, channels = evaluated.nonzero(as_tuple=True)
        weights = torch.full(live.shape, -torch.inf, device=live.device)
        if len(rows):
            weights[rows, channels] = self.channel_scores(layer, rows, channels)
        weights = weights.gather(1, stand_in)
        if self.weights == "softmax":
            weights = weights.softmax(1).nan_to_num(0.0)  # of an image whose feature maps are all constant
        return weights.clamp(min=0.0)[:, :, None, None]

    def _stand_ins(self, activations: Tensor, live: Tensor) -> Tensor:
        """Return the channel whose score each channel takes, int64 (n, C); its own unless `num_channels` are fewer."""
        stand_in = torch.arange(live.shape[1], device=live.device).repeat(len(live), 1)
        if self.num_channels is None:
            return stand_in
        for image, maps, varies in zip(stand_in, activations, live, strict=True):
            channels = varies.nonzero()[:, 0]
            if len(channels):
                some = maps[channels]
                spread = some.amax((1, 2)) - some.amin((1, 2))
                image[channels] = channels[representatives(_scaled(some), spread, self.num_channels)]
        return stand_in

    def channel_scores(self, layer: LayerView, rows: Tensor, channels: Tensor) -> Tensor:
        """Return the score of each of some images (rows) seen through one of its channels."""
        images = layer.images
        hidden = baseline_images(images, self.baseline).expand_as(images)

        def masked(chunk: slice) -> Tensor:
            maps = layer.activations[rows[chunk], channels[chunk]][:, None]
            masks = F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)
            seen = _scaled(masks).to(images.dtype)
            return images[rows[chunk]] * seen + hidden[rows[chunk]] * (1.0 - seen)

        def read(logits: Tensor, chunk: slice) -> Tensor:
            score: Score = "logit" if self.weights == "softmax" else "probability"
            return layer.classifier.select(logits, layer.target[rows[chunk]], score)

        return layer.classifier.evaluate(len(rows), masked, read, owners=lambda chunk: rows[chunk])


def _scaled(maps: Tensor) -> Tensor:
    """Return maps (..., h, w) with the least value 0 and the greatest 1; zeros for a constant one."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)
