"""The gradient of a loss by the images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_xai.model.backward.no_gradient import no_gradient_because
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved

_DETACHED = (
    "the model detaches it on the way (`.detach()`, `no_grad` or `inference_mode` around a part of its forward, or "
    "reentrant activation checkpointing). Enable gradients in that part, or use `use_reentrant=False`."
)


def input_gradient(classifier: Classifier, images: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the gradient of ``loss`` by the images, and the logits of the same pass.

    Costs one evaluation per image and its backward pass. Works in any gradient mode of the caller, with layers that
    change their input in place, and with frozen parameters; no parameter's ``.grad`` is touched.

    Args:
        classifier: The model.
        images: (N, C, H, W), at most a chunk.
        loss: Function of the float32 logits (N, K); one value per image or their sum, so that each row of the gradient
            belongs to its own image.

    Returns:
        Gradient, float32 (N, C, H, W), and logits, float32 (N, K); both detached.

    Raises:
        RuntimeError: If no gradient reaches the images.

    Example:
        >>> import torch
        >>> classifier = Classifier(torch.nn.Flatten())
        >>> input_gradient(classifier, torch.tensor([[[[2.0, 3.0]]]]), lambda logits: logits[:, 0] ** 2)
        (tensor([[[[4., 0.]]]]), tensor([[2., 3.]]))
    """
    with preserved(classifier.model):
        leaf = images.detach().clone().requires_grad_()
        logits = classifier.forward(leaf.clone())  # a copy, or layers that work in place would change the leaf
        gradient = _gradient(classifier.model, loss(logits).sum(), leaf)
    return gradient.float(), logits.detach()


def _gradient(model: nn.Module, value: Tensor, leaf: Tensor) -> Tensor:
    gradient: Tensor | None = None
    refused: RuntimeError | None = None
    if value.requires_grad:
        try:
            (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
        except RuntimeError as error:
            if "checkpoint" not in str(error):
                raise
            refused = error
    if gradient is None:
        raise RuntimeError(
            "Expected the class scores to depend on the images differentiably, but no gradient reaches the input: "
            + no_gradient_because(model, _DETACHED)
        ) from refused
    return gradient
