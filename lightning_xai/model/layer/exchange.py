"""Whether all that the logits depend on comes past a place: what two images have there is exchanged."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.candidates import Candidate
from lightning_xai.model.layer.capture import hook_registered, hooked_forward
from lightning_xai.model.layer.points import LayerInput, LayerOutput

_TOLERANCE = 0.05  # of the difference between the two images; an exchange leaves that of rounding
_VISIBLE = 1e-4  # of the logits: a smaller difference could be that of rounding


def two_images(images: Tensor) -> Tensor:
    """Return the first of ``images`` (N, C, H, W) and a copy with its pixels shuffled, (2, C, H, W)."""
    first = images[:1]
    order = torch.randperm(first[0, 0].numel(), generator=torch.Generator().manual_seed(0)).to(first.device)
    shuffled = first.flatten(2)[:, :, order].reshape(first.shape)
    return torch.cat([first, shuffled + 1 if torch.equal(first, shuffled) else shuffled])


class Exchange:
    """Tell whether a candidate carries all that the logits depend on.

    What the model has there of two images is exchanged, each taking the other's. If the logits are then exchanged too,
    nothing of the image reaches them by another way, and the first axis is the images'.

    Args:
        classifier: The model; use it inside `preserved` and without gradients.
        pair: (2, C, H, W).
        logits: (2, K), of ``pair``.

    Attributes:
        informative: Whether the logits of the two images differ by more than rounding; those of a head that is still
            zero do not.
    """

    def __init__(self, classifier: Classifier, pair: Tensor, logits: Tensor) -> None:
        self._classifier, self._pair, self._logits = classifier, pair, logits
        self._difference = float((logits[0] - logits[1]).abs().max())
        self.informative = self._difference > _VISIBLE * float(logits.abs().max())

    def carrier(self, candidate: Candidate) -> Candidate | None:
        """Return the candidate if exchanging what is there, and the class tokens around it, exchanges the logits.

        Of a layer that is called several times, such as the only activation of a network, it is the last call; if that
        one does not see the image, every call.
        """
        exchanged, calls = self._exchanged(candidate)
        point = candidate.point
        if calls > 1 and isinstance(point, (LayerOutput, LayerInput)):
            last = replace(candidate, point=replace(point, call=calls))
            if self._exchanged(last)[0]:
                return last
        return candidate if exchanged else None

    def _exchanged(self, candidate: Candidate) -> tuple[bool, int]:
        """Return whether exchanging what is at the candidate exchanges the logits, and how often it was there."""
        model, places = self._classifier.model, candidate.grid[0] * candidate.grid[1]
        with ExitStack() as stack:
            hook = _ExchangingHook()
            if candidate.around is not None:
                hook = _ExchangingHook(slice(-places, None))  # the class tokens arrive exchanged
                class_tokens = _ExchangingHook(slice(None, -places))
                stack.enter_context(hook_registered(model, candidate.around, class_tokens))
            try:
                logits = hooked_forward(self._classifier, self._pair, candidate.point, hook, counted=False)
            except (RuntimeError, ValueError):  # not a place where a tensor can be replaced
                return False, 0
        return self._is_exchanged(logits), hook.calls

    def of_images_exchanges_logits(self) -> bool:
        """Return whether exchanging the images themselves does so, which a model that draws at random does not show."""
        return self._is_exchanged(self._classifier.forward_uncounted(self._pair.flip(0)))

    def _is_exchanged(self, logits: Tensor) -> bool:
        return float((logits - self._logits.flip(0)).abs().max()) <= _TOLERANCE * self._difference


@dataclass
class _ExchangingHook:
    """Exchange the tensors of a pair, or only some of their tokens."""

    tokens: slice | None = None
    calls: int = field(default=0, init=False)

    def __call__(self, tensor: Tensor) -> Tensor:
        self.calls += 1
        if self.tokens is None:
            return tensor.flip(0)
        exchanged = tensor.clone()
        exchanged[:, self.tokens] = tensor.flip(0)[:, self.tokens]
        return exchanged
