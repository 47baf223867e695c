"""A user's model as a classifier: images in, class scores out, evaluations counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai._checks import check_device, shape
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import (
    LastOperation,
    Readout,
    called_module,
    found_in_output,
    logits_from_output,
    unwrapped,
)
from lightning_xai.model.restore.tensors import note_call

Score = Literal["probability", "logit"]


class Precision(Protocol):
    """What a Trainer's ``precision_plugin`` offers: the context of a forward and the conversion of its input."""

    def forward_context(self) -> AbstractContextManager[Any]:
        """Return the context in which the model's forward runs."""

    def convert_input(self, data: Any) -> Any:
        """Return ``data`` in the model's dtype."""


class Classifier:
    """Read class scores from a model, in chunks, without gradients and without a trace, and count evaluations.

    Args:
        model: Any module: plain, compiled, wrapped in DistributedDataParallel, or a LightningModule.
        readout: Task, logits, forward and chunk size; `Readout()` if None.
        precision: A Trainer's ``precision_plugin``; if None, images are converted to the dtype of the parameters.
        chunk_size: Images per forward where ``readout`` leaves it open.
        on_evaluated: Told the number of images after each forward, for progress; explainers show a bar if None.

    Attributes:
        evaluations: Images that went through the model so far, explanations included.
        on_evaluated: As given.

    Raises:
        TypeError: If ``model`` is no module.
        ValueError: If the module has no ``forward`` and the readout does not name one.

    Example:
        >>> import torch
        >>> classifier = Classifier(torch.nn.Flatten())
        >>> classifier.logits(torch.tensor([[[[2.0, 3.0]]]]))
        tensor([[2., 3.]])
        >>> classifier.evaluations
        1
    """

    def __init__(
        self,
        model: nn.Module,
        readout: Readout | None = None,
        *,
        precision: Precision | None = None,
        chunk_size: int = 32,
        on_evaluated: Callable[[int], object] | None = None,
    ) -> None:
        self.model = unwrapped(model)
        self.readout = readout or Readout()
        self.chunk_size = self.readout.chunk_size or chunk_size
        self.evaluations = 0
        self._precision = precision
        self._users_autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.on_evaluated = on_evaluated
        self._forward = called_module(self.model, self.readout.forward)
        self._task = self.readout.task

    @classmethod
    def of(cls, model: Model, *, chunk_size: int) -> Classifier:
        """Return ``model`` if it is a classifier already, else one for it."""
        return model if isinstance(model, Classifier) else cls(model, chunk_size=chunk_size)

    @property
    def task(self) -> str:
        """``"multiclass"``, ``"binary"`` or ``"multilabel"``; ``"auto"`` until the first evaluation."""
        return self._task

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of ``images`` (N, C, H, W), float32 (N, K), without gradients: `forward` keeps them.

        A single logit z becomes (-z, z).
        """
        return self.evaluate(len(images), lambda chunk: images[chunk].clone())

    def evaluate(
        self, count: int, build: Callable[[slice], Tensor], read: Callable[[Tensor, slice], Tensor] | None = None
    ) -> Tensor:
        """Evaluate ``count`` images that are built chunk by chunk, so that memory does not grow with their number.

        Args:
            count: Number of images.
            build: Returns the images of a chunk; the model may change them in place.
            read: Reduces the logits (n, K) of a chunk; the logits themselves if None.

        Returns:
            What ``read`` returned, concatenated, float32, first axis ``count``.
        """
        parts = []
        with preserved(self.model), torch.no_grad():
            for chunk in self.chunks(count):
                logits = self.forward(build(chunk))
                parts.append(logits if read is None else read(logits, chunk))
        return torch.cat(parts)

    def chunks(self, count: int) -> Iterator[slice]:
        """Yield slices of at most ``chunk_size`` that cover ``count`` images."""
        for start in range(0, count, self.chunk_size):
            yield slice(start, min(start + self.chunk_size, count))

    def forward(self, images: Tensor) -> Tensor:
        """Run the model once on all ``images`` in the current gradient mode and return float32 logits (N, K).

        Call it inside `preserved`; `logits` and `evaluate` do.
        """
        logits = self.forward_uncounted(images)
        self.evaluations += len(images)
        if self.on_evaluated is not None:
            self.on_evaluated(len(images))
        return logits

    def forward_uncounted(self, images: Tensor) -> Tensor:
        """Do the same without counting, for a pass that computes a small part of the model: `ForwardFromLayer`."""
        output = self._run(images)
        logits = logits_from_output(output, self.readout.logits_from_output).float()
        if len(images) == 1 and found_in_output(output, self.readout.logits_from_output).ndim == 1:
            logits = logits.reshape(1, -1)  # `squeeze()` in a model takes a single image's axis as well
        if len(logits) != len(images):
            raise ValueError(f"Expected one row of logits per image ({len(images)}), but got {shape(logits)}.")
        return self.read(logits)

    def read(self, rows: Tensor) -> Tensor:
        """Return the logits (N, K) of what the model returned as its logits or probabilities, float32 (N, K)."""
        self._check_task(rows)
        logits = self._logits_of_probabilities(rows) if self.readout.output == "probability" else rows
        return torch.cat([-logits, logits], 1) if self._task == "binary" else logits

    def check_output(self, images: Tensor) -> None:
        """Raise ValueError if the last operation of the forward pass of ``images`` makes probabilities of the logits.

        Costs an evaluation, which is not counted. What the readout says is not doubted.
        """
        if self.readout.output != "auto":
            return
        with preserved(self.model), torch.no_grad(), LastOperation() as watched:
            output = self._run(images.clone())
        operation = watched.behind(found_in_output(output, self.readout.logits_from_output))
        if operation is not None:
            raise ValueError(
                f"Expected {type(self.model).__name__} to return logits, but its last operation is {operation}, which "
                "makes probabilities: set Readout(output='probability'), which turns them back, or "
                "Readout(output='logit') if these are logits after all."
            )

    def select(self, logits: Tensor, target: Tensor, score: Score = "logit") -> Tensor:
        """Return the score of each row's target class.

        Args:
            logits: (N, K) as `forward` returns them.
            target: int64 (N,).
            score: ``"logit"``, or ``"probability"`` in [0, 1] (softmax; sigmoid for binary and multi-label).

        Returns:
            float32 (N,).

        Raises:
            ValueError: If a target is out of range.
        """
        self.check_classes(logits, target)
        values = logits if score == "logit" else self.probabilities(logits)
        return values.gather(1, target[:, None])[:, 0]

    def probability_of_others(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return 1 − the probability of each row's target, exact also where that probability rounds to 1, (N,)."""
        self.check_classes(logits, target)
        chosen = logits.gather(1, target[:, None])[:, 0]
        if self._task != "multiclass":
            return torch.sigmoid(-chosen)
        others = logits.scatter(1, target[:, None], -torch.inf)
        return torch.exp(others.logsumexp(1) - logits.logsumexp(1))

    def check_classes(self, logits: Tensor, target: Tensor) -> None:
        """Raise ValueError if a class of ``target`` (N,) has no column in ``logits`` (N, K)."""
        if int(target.max()) >= logits.shape[1]:
            raise ValueError(
                f"Expected `target` to be a class in [0, {logits.shape[1] - 1}], the model's {logits.shape[1]} classes,"
                f" but got {int(target.max())}."
            )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities (N, K) of ``logits``: softmax; sigmoid for binary and multi-label."""
        return F.softmax(logits, 1) if self._task == "multiclass" else torch.sigmoid(logits)

    @contextmanager
    def autocast_for_the_model_only(self, device: torch.device) -> Iterator[None]:
        """Switch off the caller's autocast in the body, except where the model itself runs.

        It is meant for the model; matrix products of a method's own arithmetic would lose digits in it.
        """
        kind = device.type
        if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
            yield
            return
        enclosing = self._users_autocast
        dtype, cached = torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled()
        self._users_autocast = partial(torch.autocast, kind, dtype, cache_enabled=cached)
        try:
            with torch.autocast(kind, enabled=False):
                yield
        finally:
            self._users_autocast = enclosing

    def _logits_of_probabilities(self, probabilities: Tensor) -> Tensor:
        least = torch.finfo(probabilities.dtype).tiny
        logarithm = probabilities.clamp(min=least).log()
        if self._task == "multiclass":
            return logarithm
        return logarithm - (1.0 - probabilities).clamp(min=least).log()

    def _run(self, images: Tensor) -> Any:
        note_call(self.model)
        with self._users_autocast():
            return self._called(images)

    def _called(self, images: Tensor) -> Any:
        if self._precision is not None:
            with self._precision.forward_context():
                return self._forward(self._in_the_dtype_of_a_parameter(self._precision.convert_input(images)))
        reference = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        if reference is not None:
            if reference.device != images.device:
                check_device(reference, images, "model")
            images = images.to(reference.dtype)
        return self._forward(images)

    def _in_the_dtype_of_a_parameter(self, images: Tensor) -> Tensor:
        """Return images in the first parameter's precision if no parameter has theirs: a step must convert them too."""
        dtypes = [p.dtype for p in self.model.parameters() if p.is_floating_point()]
        return images.to(dtypes[0]) if dtypes and images.dtype not in dtypes else images

    def _check_task(self, logits: Tensor) -> None:
        single = logits.shape[1] == 1
        if self._task == "auto":
            self._task = "binary" if single else "multiclass"
        if self._task != "multilabel" and (self._task == "binary") != single:
            raise ValueError(
                f"Expected {'one logit' if self._task == 'binary' else 'two or more logits'} per image for "
                f"task={self._task!r}, but the model returned {logits.shape[1]}. Set `Readout(task=...)`."
            )


Model: TypeAlias = nn.Module | Classifier
"""What every public function accepts as ``model``."""
