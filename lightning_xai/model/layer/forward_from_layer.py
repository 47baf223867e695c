"""What a model computes after a capture point, for many changed copies of what is there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import feature_maps, hooked_forward, warn_if_repeated
from lightning_xai.model.layer.points import CapturePoint
from lightning_xai.model.layer.replay import ForwardRecording, ForwardReplay
from lightning_xai.model.preserve import preserved

_log = logging.getLogger(__name__)

_VALUES = 2**24  # of all copies together: 64 MiB; one pass through a large model takes milliseconds


class ForwardFromLayer:
    """The part of a model after a capture point, run alone: what comes before it is replayed without computing it.

    The images' own forward pass is recorded. To run that part alone, the model is called again: each torch operation
    before the capture point is answered from the record, what is there is replaced, and the rest is computed, for many
    copies at once by `torch.vmap`. On the unchanged copy this must reproduce the logits of the pass; where it does not
    (a model whose path differs from call to call, operations that torch does not dispatch), the copies are run one by
    one, or, where that fails too, the whole model runs for each of them, which is logged and counted.

    Args:
        classifier: The model; the recorded pass costs one evaluation per image.
        images: (N, C, H, W), at most a chunk.
        point: Where; see `capture_points`.

    Attributes:
        activations: Float32 (N, C, h, w).
        logits: Of the unchanged images, float32 (N, K).

    Raises:
        RuntimeError: If the layer did not run.
        ValueError: If the layer holds no feature maps.
    """

    def __init__(self, classifier: Classifier, images: Tensor, point: CapturePoint) -> None:
        self._classifier, self._images, self._point = classifier, images, point
        recording = ForwardRecording()
        with preserved(classifier.model), torch.no_grad(), recording:
            self.logits = hooked_forward(classifier, images, point, recording)
        warn_if_repeated(recording, point)
        self._calls, self._tensor, self._operations = recording.calls, recording.tensor, recording.operations()
        self._capacity = max(max(recording.largest, _VALUES) // self._tensor.numel(), 1)
        self.activations = self._maps(self._tensor).float()
        self._run = self._in_full
        self._choose_run()

    def groups(self) -> Iterator[Tensor]:
        """Yield the channels, int64, in groups whose copies fit into the memory of the plain pass."""
        channels = torch.arange(self.activations.shape[1], device=self.activations.device)
        yield from torch.split(channels, self._capacity)

    def without(self, channels: Tensor) -> Tensor:
        """Return the logits (M, N, K) with each of the ``channels`` (M,) alone set to 0."""
        copies = self._copies(len(channels))
        maps = self._maps(copies.flatten(0, 1))
        maps = maps.view(*copies.shape[:2], *maps.shape[1:])  # not a copy: what is written there reaches `copies`
        maps[torch.arange(len(channels), device=channels.device), :, channels] = 0.0
        return self._logits(copies)

    def gradient(self, maps: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the gradient of a loss by feature maps that replace those of the images.

        Args:
            maps: (M, N, C, h, w), M copies.
            loss: Function of the logits (M, N, K); any shape, summed.

        Returns:
            Float32 (M, N, C, h, w).

        Raises:
            RuntimeError: If no gradient reaches the maps.
        """
        model, leaf = self._classifier.model, maps.detach().requires_grad_()
        with preserved(model), torch.enable_grad(), _attributes_kept(model):
            copies = self._copies(len(maps))
            self._maps(copies.flatten(0, 1)).copy_(leaf.flatten(0, 1))
            value = loss(self._run(copies)).sum()
            slope = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
        if slope is None:
            raise RuntimeError(
                f"Expected the class score to depend on {self._point} differentiably, but no gradient reaches it: the "
                "model detaches it (`.detach()`, `no_grad` or `inference_mode` after the layer). Name a later layer."
            )
        return slope.float()

    def _logits(self, copies: Tensor) -> Tensor:
        with preserved(self._classifier.model), torch.no_grad(), _attributes_kept(self._classifier.model):
            return self._run(copies)

    def _choose_run(self) -> None:
        """Take the cheapest run that reproduces the logits, and the logits that it gives."""
        name, reasons = type(self._classifier.model).__name__, []
        for run in (self._together, self._one_by_one):
            self._run = run
            try:
                again = self._logits(self._copies(2))
            except Exception as error:  # whatever it is, the plain pass went without it
                reasons.append(str(error))
                continue
            if self._reproduces(again):
                self.logits = again[0]
                return
            reasons.append("the logits differ")
        self._run = self._in_full
        _log.info("After %s of %s nothing runs alone (%s): all of it does.", self._point, name, "; ".join(reasons))

    def _reproduces(self, logits: Tensor) -> bool:
        tolerance = max(1e-4, 4 * torch.finfo(self._tensor.dtype).eps)
        return float((logits - self.logits).abs().max()) <= tolerance * float(self.logits.abs().max())

    def _together(self, copies: Tensor) -> Tensor:
        with warnings.catch_warnings():  # an operation without a rule for batches runs copy by copy, alone
            warnings.filterwarnings("ignore", message="There is a performance drop")
            logits: Tensor = torch.vmap(self._replayed)(copies)
        return logits

    def _one_by_one(self, copies: Tensor) -> Tensor:
        return torch.stack([self._replayed(copy) for copy in copies])

    def _in_full(self, copies: Tensor) -> Tensor:
        return torch.stack([self._passed(copy, counted=True) for copy in copies])

    def _replayed(self, copy: Tensor) -> Tensor:
        with ForwardReplay(self._operations):
            return self._passed(copy, counted=False)

    def _passed(self, copy: Tensor, *, counted: bool) -> Tensor:
        hook = _ReplacingHook(copy, self._calls, torch.is_grad_enabled())
        return hooked_forward(self._classifier, self._images, self._point, hook, counted=counted)

    def _copies(self, count: int) -> Tensor:
        return self._tensor.expand(count, *self._tensor.shape).clone(memory_format=torch.contiguous_format)

    def _maps(self, tensor: Tensor) -> Tensor:
        return feature_maps(tensor, (self._images.shape[2], self._images.shape[3]), str(self._point))


@dataclass
class _ReplacingHook:
    """Replace what is at the capture point when it is reached for the last time."""

    copy: Tensor
    last: int
    differentiable: bool
    calls: int = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        self.calls += 1
        if self.calls < self.last:
            return tensor
        if not self.differentiable:
            return self.copy
        torch.set_grad_enabled(True)  # lasts until the surrounding `with` ends: the user's own may hide what follows
        return self.copy.clone()  # the model may change it in place, which a row of all copies does not allow


@contextmanager
def _attributes_kept(model: nn.Module) -> Iterator[None]:
    """Restore what a forward pass stores on its modules: what a pass without content leaves there is of no use."""
    saved = [(module.__dict__, dict(module.__dict__)) for module in model.modules()]
    try:
        yield
    finally:
        for attributes, values in saved:
            attributes.clear()
            attributes.update(values)
