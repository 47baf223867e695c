"""Any attribution of captum, plugged in by its class path."""

from __future__ import annotations

import inspect
import warnings
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_choice, shape
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.model.backward.logits_module import LogitsModule, as_module
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import feature_maps
from lightning_xai.model.layer.points import LayerOutput
from lightning_xai.model.layer.search import capture_points
from lightning_xai.model.readout import named_layers


class CaptumExplainer(PixelExplainer):
    """Plug in an attribution of captum, or a class like it, by its path.

    What it means, costs and promises is the method's own affair: some draw noise that depends on the batch, some are
    wrong where a module is used twice or a ReLU is a function. For the methods that this package has itself, prefer
    these. The model is called through the `Classifier` (counted, float32 logits), no layer works in place meanwhile,
    and no trace is left on it. Layer attributions are reduced like images and resized (bilinear).

    Args:
        attribution: Path of the class, such as ``"captum.attr.FeatureAblation"``.
        layer: Name of a layer of the model, for classes that need one.
        reduction: See `PixelExplainer`.
        **arguments: Of its constructor and its ``attribute``, told apart by their names; lists become tuples.

    Raises:
        TypeError: If the class takes no such argument.
        ValueError: If there is no such class, it wraps another attribution, or ``layer`` does not fit; when called, if
            the layer is unknown or what comes back has no spatial axes.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, -3.0]])
        >>> ablation = CaptumExplainer("captum.attr.FeatureAblation", baselines=1.0)
        >>> ablation(net, torch.tensor([[[[5.0, 1.0]]]]), target=1)
        tensor([[[8., 0.]]])
        >>> ablation
        CaptumExplainer(attribution='captum.attr.FeatureAblation', layer=None, reduction='sum', baselines=1.0)
    """

    evaluations = None

    def __init__(
        self,
        attribution: str = "captum.attr.InputXGradient",
        layer: str | None = None,
        *,
        reduction: Reduction = "sum",
        **arguments: Any,
    ) -> None:
        self.attribution = attribution
        self.layer = layer
        super().__init__(reduction=reduction)
        self.arguments = arguments
        construct, _ = _parameters(attribution)
        if ("layer" in construct) is not (layer is not None):
            needed = "the name of a layer" if "layer" in construct else "None"
            raise ValueError(f"Expected `layer` to be {needed} for {attribution}, but got {layer!r}.")
        self._split()

    def settings(self) -> dict[str, Any]:
        """Return all arguments by name."""
        return {**super().settings(), **self.arguments}

    def __repr__(self) -> str:
        """Return the class with all settings, those of the attribution included."""
        further = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"{super().__repr__().removesuffix(')')}{further})"

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return what the method attributes, (n, C, h, w)."""
        construct, attribute = self._split()
        if "target" in _parameters(self.attribution)[1]:
            attribute["target"] = target
        if classifier.has_extra:
            attribute[_FURTHER] = self._owners(classifier, images)
        with as_module(classifier) as module, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting .*hooks|.*did not already require gradients")
            if self.layer is not None:
                construct["layer"] = _layer(module, self.layer)
            attributed = _loaded(self.attribution)(module, **construct).attribute(images, **attribute)
        return self._maps(attributed, images)

    def _owners(self, classifier: Classifier, images: Tensor) -> Tensor:
        """Return which image each is made of, which the method repeats together with the images."""
        if self.layer is not None:
            (point,) = capture_points(classifier, self.layer, images)
            if isinstance(point, LayerOutput) and point.call:
                raise ValueError(
                    f"Expected `{self.layer}` to see the image alone for {self.attribution}, but forward calls it for "
                    "what comes beside the image, too. Use GradCAM, which tells the calls apart."
                )
        if _FURTHER not in _parameters(self.attribution)[1]:
            raise ValueError(
                f"Expected images alone for {self.attribution}, which has no `{_FURTHER}`, but the model's forward "
                "wants `extra` beside them. Use another attribution."
            )
        return torch.arange(len(images), device=images.device)

    def _maps(self, attributed: Any, images: Tensor) -> Tensor:
        tensor = attributed[0] if isinstance(attributed, tuple) else attributed
        if not isinstance(tensor, Tensor) or len(tensor) != len(images):
            got = shape(tensor) if isinstance(tensor, Tensor) else type(attributed).__name__
            raise ValueError(
                f"Expected {self.attribution} to return a Tensor of shape ({len(images)}, C, h, w), but got {got}."
            )
        if tensor.shape == images.shape:
            return tensor.detach()
        return feature_maps(tensor.detach(), (images.shape[2], images.shape[3]), f"the result of {self.attribution}")

    def _split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments of the constructor and those of ``attribute``."""
        construct, attribute = _parameters(self.attribution)
        unknown = sorted(self.arguments.keys() - construct - attribute)
        if unknown:
            taken = ", ".join(sorted((construct | attribute) - _OURS))
            raise TypeError(f"Expected arguments of {self.attribution} ({taken}), but got {', '.join(unknown)}.")
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in self.arguments.items()}
        first = {name: value for name, value in values.items() if name in construct}
        return first, {name: value for name, value in values.items() if name not in first}


_FURTHER = "additional_forward_args"
_OURS = frozenset({"layer", "inputs", "target"})


def _loaded(path: str) -> type[Any]:
    """Return the class at ``path``."""
    package, _, name = path.rpartition(".")
    try:
        module = import_module(package)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"Expected `attribution` to be the path of a class, such as 'captum.attr.Saliency', but got {path!r}."
        ) from error
    check_choice(name, [n for n, c in vars(module).items() if callable(getattr(c, "attribute", None))], "attribution")
    loaded: type[Any] = getattr(module, name)
    return loaded


def _parameters(path: str) -> tuple[set[str], set[str]]:
    """Return the names that the constructor takes after the model, and those that ``attribute`` takes."""
    method = _loaded(path)
    first, *construct = inspect.signature(method).parameters
    if first not in {"model", "forward_func"}:
        raise ValueError(
            f"Expected `attribution` to be a class whose first argument is the model, but that of {path} is `{first}`. "
            "For averages over noise, use SmoothGrad."
        )
    return set(construct), set(inspect.signature(method.attribute).parameters) - {"self", "inputs"}


def _layer(module: LogitsModule, name: str) -> nn.Module:
    layers = named_layers(module.model)
    check_choice(name, list(layers), "layer")
    return layers[name]
