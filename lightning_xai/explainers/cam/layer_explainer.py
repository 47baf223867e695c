"""What the CAM family shares: a target layer, and a weighted sum of its feature maps."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from weakref import WeakSet

import torch
from torch import Tensor, nn

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import Capture, capture
from lightning_xai.model.layer.forward_from_layer import ForwardFromLayer
from lightning_xai.model.layer.points import CapturePoint
from lightning_xai.model.layer.search import Layer, attends_globally, capture_points

_warned: WeakSet[nn.Module] = WeakSet()


class LayerView:
    """What a target layer holds for a chunk of images: one forward pass of the model, when it is first needed.

    Args:
        classifier: The model.
        images: (n, C, H, W).
        target: int64 (n,).
        point: Where the layer is.
        gradients: Whether the pass gives gradients too.

    Attributes:
        classifier: As given; methods that evaluate more than the images use it.
        images: As given.
        target: As given.
    """

    def __init__(
        self, classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint, *, gradients: bool
    ) -> None:
        self.classifier = classifier
        self.images = images
        self.target = target
        self._point = point
        self._with_gradients = gradients

    @property
    def activations(self) -> Tensor:
        """A, the feature maps, float32 (n, C, h, w)."""
        return self._captured.activations

    @property
    def gradients(self) -> Tensor:
        """G = ∂y/∂A, float32 (n, C, h, w)."""
        if self._captured.gradients is None:
            raise RuntimeError("Expected the pass to give gradients, but it did not: set `needs_gradients = True`.")
        return self._captured.gradients

    @property
    def logits(self) -> Tensor:
        """Of the images, float32 (n, K)."""
        return self._captured.logits

    def of(self, images: Tensor, *, gradients: bool) -> LayerView:
        """Return the same layer for changed images, as many, of the same classes."""
        return LayerView(self.classifier, images, self.target, self._point, gradients=gradients)

    def of_references(self, references: Tensor) -> LayerView:
        """Return the same layer for other images, any number; their `extra` is that of the first image."""
        first = torch.zeros(len(references), dtype=torch.int64)
        return LayerView(self.classifier.rows(first), references, self.target, self._point, gradients=False)

    @cached_property
    def forward_from_here(self) -> ForwardFromLayer:
        """What the model computes after the layer; the pass that records it shows the activations as well."""
        forward = ForwardFromLayer(self.classifier, self.images, self._point)
        self._captured = Capture(forward.activations, None, forward.logits)
        return forward

    @cached_property
    def _captured(self) -> Capture:
        return capture(self.classifier, self.images, self.target, self._point, gradients=self._with_gradients)


class LayerExplainer(Explainer):
    """Explain by a weighted sum of the feature maps A of one layer: ``ReLU(Σ_k w_k A_k)``.

    A subclass overrides `feature_weights`. That is all of Grad-CAM::

        def feature_weights(self, layer):
            return layer.gradients.mean((2, 3), keepdim=True)

    Args:
        target_layer: ``"auto"`` (what enters the last pooling, attention or flattening, or, where these see a single
            place, the last convolution; logged and kept in `picked`), a dotted name, a module of the model, or a list
            of these: then each map is divided by its maximum, and the maps are averaged at the first layer's
            resolution.
        relu: Whether negative values are cut at the layer's resolution, before resizing.

    On a vision transformer, ``"auto"`` warns once per model: examples/vision_transformer_heatmaps.py measures why.

    Attributes:
        needs_gradients: Whether the pass over the images has to give gradients; a fact of the method.

    Raises:
        TypeError: If ``target_layer`` is none of these.
    """

    needs_gradients: bool = True

    def __init__(
        self, target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto", *, relu: bool = True
    ) -> None:
        layers = target_layer if isinstance(target_layer, (list, tuple)) else [target_layer]
        if not layers or not all(isinstance(layer, (str, nn.Module)) for layer in layers):
            raise TypeError(
                f"Expected `target_layer` to be 'auto', a name, a module or a list of these, but got {target_layer!r}."
            )
        self.target_layer: Layer | Sequence[Layer] = target_layer
        self.relu = relu
        self._picked: list[CapturePoint] = []

    @property
    def evaluations(self) -> int | None:
        """One for each layer, unless a subclass needs more."""
        return self.num_layers

    @property
    def num_layers(self) -> int:
        """How many target layers there are, each of which costs its own evaluations."""
        return len(self.target_layer) if isinstance(self.target_layer, (list, tuple)) else 1

    @property
    def picked(self) -> list[str]:
        """What the last call captured, in words, one per layer."""
        return [str(point) for point in self._picked]

    @abstractmethod
    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return what each feature map is multiplied by, (n, C, 1, 1), or each of its places, (n, C, h, w)."""

    def layer_map(self, layer: LayerView) -> Tensor:
        """Return the map (n, h, w) of one layer; for methods that are no weighted sum of the images' activations."""
        return self.weighted_sum(self.feature_weights(layer), layer.activations)

    def weighted_sum(self, weights: Tensor, activations: Tensor) -> Tensor:
        """Return ``Σ_k w_k A_k``, (n, h, w), rectified where the setting ``relu`` says so."""
        heat = (weights * activations).sum(1)
        return heat.relu() if self.relu else heat

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return maps (n, h, w) at the resolution of the (first) layer."""
        points = capture_points(classifier, self.target_layer, images)
        self._picked = points
        maps = [
            self.layer_map(LayerView(classifier, images, target, point, gradients=self.needs_gradients))
            for point in points
        ]
        if self.target_layer == "auto" and attends_globally(classifier.model):
            self._warn_once(classifier.model)
        return maps[0] if len(maps) == 1 else _averaged(maps)

    def _warn_once(self, model: nn.Module) -> None:
        if model not in _warned:
            _warned.add(model)
            warnings.warn(
                f"{type(self).__name__} on a transformer is less faithful than on a CNN: the global attention of "
                f"{type(model).__name__} mixes the places of the layer that is read. Prefer TransformerAttribution, or "
                "AttentionRollout, which is the same for every class.",
                stacklevel=2,
            )


def _averaged(maps: list[Tensor]) -> Tensor:
    size = maps[0].shape[1:]
    resized = [
        nn.functional.interpolate(m[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for m in maps
    ]
    peaks = [m.flatten(1).amax(1)[:, None, None] for m in resized]
    scaled = [torch.where(peak > 0, m / peak, torch.zeros_like(m)) for m, peak in zip(resized, peaks, strict=True)]
    return torch.stack(scaled).mean(0)
