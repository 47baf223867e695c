"""A twin of a model that gives for images plus a constant what the model gives for the images."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.extra import Extra
from lightning_xai.model.readout import Readout, unwrapped

_SAME = 1e-3  # of the greatest logit: what rounding does at most
_CONSTANT = 1e-3

FirstLayer = nn.Conv2d | nn.Linear


def shifted_twin(
    model: nn.Module,
    images: Tensor,
    shift: Tensor,
    readout: Readout | None = None,
    extra: Extra | None = None,
) -> nn.Module:
    """Return a copy of a model whose first layer takes a constant out of its input again: f'(x + c) = f(x).

    The first convolution or linear layer that runs gets the bias ``b − W d``, where ``d`` is what the constant has
    become when it reaches the layer (as through a normalisation inside the model). A convolution with zero padding is
    padded with ``d`` instead, so that the twin is exact at the border too. Only rounding is left; it is checked.

    Args:
        model: Left as it was.
        images: Some images (N, C, H, W), by which the first layer is found and the twin checked.
        shift: The constant, (C, 1, 1).
        readout: How the model is read.
        extra: What its forward wants beside these images; see `Classifier.with_extra`.

    Returns:
        The twin, on the same device.

    Raises:
        ValueError: If the model cannot be copied, has no such layer, the constant is none any more when it arrives
            there, or the image reaches the model on another way as well.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images, shift = torch.rand(3, 1, 2, 2), torch.full((1, 1, 1), 5.0)
        >>> twin = shifted_twin(net, images, shift)
        >>> torch.allclose(twin(images + shift), net(images), atol=1e-5)
        True
    """
    model = unwrapped(model)
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise ValueError(f"Expected a model that can be copied, to shift its input, but it cannot: {error}") from error

    def read(module: nn.Module) -> Classifier:
        return Classifier(module, readout).with_extra(extra)

    name, plain = _first_input(read(twin), images)
    _, moved = _first_input(read(twin), images + shift)
    layer = twin.get_submodule(name)
    constant = _constant(moved, plain, is_convolution=isinstance(layer, nn.Conv2d), name=name)
    twin = _with_layer(twin, name, _without(layer, constant))  # type: ignore[arg-type]
    _check_equal(read(model).logits(images), read(twin).logits(images + shift), name)
    return twin


class PaddedWith(nn.Module):
    """Pads images with a value of each channel.

    Args:
        value: Of each channel, (C,).
        padding: Left, right, top, bottom.
    """

    value: Tensor

    def __init__(self, value: Tensor, padding: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("value", value[:, None, None])
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) with a border; what was inside is untouched, to the last bit."""
        inside = self.value.to(images.dtype).expand(images.shape[1:])
        return F.pad(images, self.padding) + (self.value - F.pad(inside, self.padding))


def _first_input(classifier: Classifier, images: Tensor) -> tuple[str, Tensor]:
    """Return the name of the layer that runs first, and its input.

    Raises:
        ValueError: If there is none.
    """
    seen: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: seen.append((name, inputs[0].detach().clone())))
        for name, module in classifier.model.named_modules()
        if isinstance(module, FirstLayer)
    ]
    try:
        classifier.logits(images)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise ValueError(
            "Expected a model whose first layer is a Conv2d or Linear, into whose bias a shift of the input can go, "
            f"but {type(classifier.model).__name__} runs none."
        )
    return seen[0]


def _constant(moved: Tensor, plain: Tensor, *, is_convolution: bool, name: str) -> Tensor:
    """Return by how much each channel (or feature) of a layer's input has moved, (C,).

    Raises:
        ValueError: If it is not the same everywhere.
    """
    change = moved.double() - plain.double()
    change = change.movedim(1, -1) if is_convolution else change
    change = change.flatten(0, -2)
    constant = change.mean(0)
    size = float(torch.stack([moved.abs().max(), plain.abs().max()]).max())
    if float((change - constant).abs().max()) > _CONSTANT * size:
        raise ValueError(
            f"Expected a constant shift of the input to be constant at `{name}`, the first layer of the model, but "
            "what stands before it makes something else of it: no bias can take it out."
        )
    return constant


def _without(layer: FirstLayer, constant: Tensor) -> nn.Module:
    """Return a layer that takes a constant out of its input; the layer itself is changed."""
    weight = layer.weight.detach().double()
    if isinstance(layer, nn.Linear):
        taken = weight @ constant
    else:
        of_group = constant.view(layer.groups, -1).repeat_interleave(layer.out_channels // layer.groups, 0)
        taken = (weight.sum((2, 3)) * of_group).sum(1)
    bias = -taken if layer.bias is None else layer.bias.detach().double() - taken
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
    padding = _zero_padding(layer) if isinstance(layer, nn.Conv2d) else (0, 0, 0, 0)
    if not any(padding):
        return layer
    layer.padding = (0, 0)
    return nn.Sequential(PaddedWith(constant.to(layer.weight.dtype), padding), layer)


def _zero_padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Return how many zeros a convolution adds left, right, above and below; none if it pads otherwise."""
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return (0, 0, 0, 0)
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)
    rows, columns = (int(side) for side in layer.padding)
    return (columns, columns, rows, rows)


def _with_layer(model: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    if not name:
        return layer
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)
    return model


def _check_equal(logits: Tensor, of_twin: Tensor, name: str) -> None:
    off, size = float((logits - of_twin).abs().max()), float(logits.abs().max())
    if not off <= _SAME * max(size, 1.0):
        raise ValueError(
            f"Expected the image to reach the model through its first layer `{name}` alone, but with the shift taken "
            f"out there, logits still differ by up to {off:.2g}: input invariance cannot be asked of this model."
        )
