"""What the CAM family shares: a target layer, one capture there, a map at the layer's resolution."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from weakref import WeakSet

import torch
from torch import Tensor, nn

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import Capture, capture
from lightning_xai.model.layer.search import CapturePoint, Layer, attends_globally, capture_points

_warned: WeakSet[nn.Module] = WeakSet()


class LayerExplainer(Explainer):
    """Explain by the feature maps A and the gradients g = ∂y/∂A of one layer, where y is the target's logit.

    A subclass overrides `combine`: activations and gradients in, one map per image out.

    Args:
        target_layer: ``"auto"`` (what enters the last pooling, attention or flattening, or, where these see a single
            place, the last convolution; logged and kept in `picked`), a dotted name, a module of the model, or a list
            of these: then each map is divided by its maximum, and the maps are averaged at the first layer's
            resolution.
        relu: Whether negative values are cut at the layer's resolution, before resizing.

    On a vision transformer, ``"auto"`` warns once per model: examples/transformers.py measures why.

    Raises:
        TypeError: If ``target_layer`` is none of these.
    """

    needs_gradients = True

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
        self._picked: list[str] = []

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
        """What the last call captured, in words, such as ``["the output of `layer4`"]``."""
        return list(self._picked)

    @abstractmethod
    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Return the map (n, h, w) of activations and gradients (n, C, h, w), before the ReLU."""

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return maps (n, h, w) at the resolution of the (first) layer."""
        points = capture_points(classifier, self.target_layer, images)
        self._picked = [str(point) for point in points]
        maps = [self.layer_map(classifier, images, target, point) for point in points]
        if self.target_layer == "auto" and attends_globally(classifier.model):
            self._warn_once(classifier.model)
        return maps[0] if len(maps) == 1 else _averaged(maps)

    def layer_map(self, classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint) -> Tensor:
        """Return the map (n, h, w) of one layer."""
        raw = self.raw_map(classifier, images, target, point)
        return raw.relu() if self.relu else raw

    def raw_map(self, classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint) -> Tensor:
        """Return the map of one layer before the ReLU; for methods that evaluate more than the images."""
        found = capture(classifier, images, target, point, gradients=self.needs_gradients)
        with torch.autocast(images.device.type, enabled=False):  # the user's is for the model, not for this arithmetic
            return self.from_capture(found, classifier, target)

    def from_capture(self, found: Capture, classifier: Classifier, target: Tensor) -> Tensor:  # noqa: ARG002
        """Return the map of a capture; for methods that need more than activations and gradients."""
        if found.gradients is None:
            raise RuntimeError(f"{type(self).__name__} needs gradients: set `needs_gradients = True`.")
        return self.combine(found.activations, found.gradients)

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
