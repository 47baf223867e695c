"""A user's model as a classifier: images in, class scores out, evaluations counted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai._checks import shape
from lightning_xai.model.call import ModelCall, Precision
from lightning_xai.model.extra import Extra, RowsOfExtra
from lightning_xai.model.images_per_forward import ImagesPerForward, images_at_once
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import (
    LastOperation,
    Readout,
    called_module,
    found_in_output,
    logits_from_output,
    logits_of_probabilities,
    unwrapped,
)

Score = Literal["probability", "logit"]


@dataclass
class _Account:
    """What all views of one model share: what was counted and learned of it."""

    task: str
    on_evaluated: Callable[[int], object] | None
    evaluations: int = 0


class Classifier:
    """Read class scores from a model, in chunks, without gradients and without a trace, and count evaluations.

    What forward wants beside the image is bound by `with_extra`; whatever repeats or selects images then says by `rows`
    which image each of them comes from.

    Args:
        model: Any module: plain, compiled, wrapped in DistributedDataParallel, or a LightningModule.
        readout: Task, logits, forward and chunk size; `Readout()` if None.
        precision: A Trainer's ``precision_plugin``; if None, images are converted to the dtype of the parameters.
        chunk_size: Images per forward where ``readout`` leaves it open.
        images_without_gradients: The same where no gradients are wanted, if ``readout`` leaves it open; at least as
            many, and ``chunk_size`` if None.
        on_evaluated: Told the number of images after each forward, for progress; explainers show a bar if None.
        channels_last: Whether images go through the model in ``torch.channels_last`` where no gradients are wanted,
            which costs less on a CPU; some models cannot read them, see `reads_channels_last`.

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
        images_without_gradients: int | None = None,
        on_evaluated: Callable[[int], object] | None = None,
        channels_last: bool = False,
    ) -> None:
        self.model = unwrapped(model)
        self.readout = readout or Readout()
        self.channels_last = channels_last
        asked = self.readout.chunk_size
        self._images_per_forward = ImagesPerForward(asked or chunk_size, asked or images_without_gradients)
        self._account = _Account(self.readout.task, on_evaluated)
        self._run = ModelCall(self.model, called_module(self.model, self.readout.forward), precision)
        self._extra: RowsOfExtra | None = None
        self._in_bf16 = False

    @classmethod
    def of(cls, model: Model, images: Tensor | None) -> Classifier:
        """Return ``model`` if it is a classifier already, else one for it and images (N, C, H, W)."""
        if isinstance(model, Classifier):
            return model
        return cls(model, chunk_size=1 if images is None else images_at_once(images))

    @property
    def chunk_size(self) -> int:
        """Images per forward; halved when a device had no room for as many."""
        return self._images_per_forward.size

    @property
    def images_without_gradients(self) -> int:
        """Images per forward where no gradients are wanted; halved when a device had no room for as many."""
        return self._images_per_forward.without_gradients

    @property
    def task(self) -> str:
        """``"multiclass"``, ``"binary"`` or ``"multilabel"``; ``"auto"`` until the first evaluation."""
        return self._account.task

    @property
    def evaluations(self) -> int:
        """Images that went through the model so far, explanations included."""
        return self._account.evaluations

    @evaluations.setter
    def evaluations(self, count: int) -> None:
        self._account.evaluations = count

    @property
    def on_evaluated(self) -> Callable[[int], object] | None:
        """Told the number of images after each forward."""
        return self._account.on_evaluated

    @on_evaluated.setter
    def on_evaluated(self, told: Callable[[int], object] | None) -> None:
        self._account.on_evaluated = told

    @property
    def has_extra(self) -> bool:
        """Whether images come with something that forward wants beside them."""
        return self._extra is not None

    def with_extra(self, extra: Extra | None) -> Classifier:
        """Return the same, counting together with this one, for images that come with what forward also wants.

        Args:
            extra: Name of an argument of forward -> a value for each of the N images, in their order: a tensor
                (N, ...), a list, or a mapping of these. The image is the first argument that is not named.

        Raises:
            TypeError: If ``extra`` is no mapping, or a value holds nothing per image.
            ValueError: If values do not agree on N.

        Example:
            >>> class Fusion(nn.Module):
            ...     def forward(self, image, table):
            ...         return image.flatten(1) + table
            >>> classifier = Classifier(Fusion()).with_extra({"table": torch.tensor([[1.0, 0.0], [0.0, 2.0]])})
            >>> classifier.logits(torch.zeros(2, 1, 1, 2)).tolist()
            [[1.0, 0.0], [0.0, 2.0]]
            >>> classifier.rows(torch.tensor([1])).logits(torch.ones(1, 1, 1, 2))  # made of the second image
            tensor([[1., 3.]])
        """
        return self._view(_extra=RowsOfExtra.of(extra) if extra else None)

    def rows(self, index: slice | Tensor) -> Classifier:
        """Return the same for images that are made of those with ``index``, int64 (n,), or a slice of the batch."""
        return self if self._extra is None else self._view(_extra=self._extra.rows(index))

    def lowered(self) -> Classifier:
        """Return the same in ``Readout(precision=...)``, for the many evaluations of a curve; itself if it has none."""
        return self if self.readout.precision == "model" else self._view(_in_bf16=True)

    def in_layout(self, *, channels_last: bool) -> Classifier:
        """Return the same with images in ``torch.channels_last`` or as they come, where no gradients are wanted."""
        return self._view(channels_last=channels_last)

    def _view(self, **changed: object) -> Classifier:
        view = copy.copy(self)
        vars(view).update(changed)
        return view

    def check_rows(self, count: int) -> None:
        """Raise ValueError if ``count`` images are not the batch whose `extra` this classifier is bound to."""
        if self._extra is not None and len(self._extra) != count:
            raise ValueError(
                f"Expected one row of `extra` per image, but got {len(self._extra)} rows for {count} images. Bind "
                "that of these images, `classifier.with_extra(...)`; of images that are selected or repeated, "
                "`classifier.rows(index)` says which row each takes."
            )

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of ``images`` (N, C, H, W), float32 (N, K), without gradients: `forward` keeps them.

        A single logit z becomes (-z, z).
        """
        return self.evaluate(len(images), lambda chunk: images[chunk].clone())

    def evaluate(
        self,
        count: int,
        build: Callable[[slice], Tensor],
        read: Callable[[Tensor, slice], Tensor] | None = None,
        *,
        owners: Callable[[slice], Tensor] | None = None,
    ) -> Tensor:
        """Evaluate ``count`` images that are built chunk by chunk, so that memory does not grow with their number.

        Args:
            count: Number of images.
            build: Returns the images of a chunk; the model may change them in place.
            read: Reduces the logits (n, K) of a chunk; the logits themselves if None.
            owners: Returns which image of the batch each of a chunk is made of, int64 (n,), so that it takes that one's
                `extra`; the images of the batch in order if None.

        Returns:
            What ``read`` returned, concatenated, float32, first axis ``count``.
        """
        if owners is None:
            self.check_rows(count)

        def evaluated(chunk: slice) -> Tensor:
            part = self if self._extra is None else self.rows(chunk if owners is None else owners(chunk))
            images = build(chunk)
            if self.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            logits = part.forward(images)
            return logits if read is None else read(logits, chunk)

        with preserved(self.model), torch.no_grad():
            return torch.cat(self._images_per_forward.evaluated(count, evaluated))

    def chunks(self, count: int) -> Iterator[slice]:
        """Yield slices of at most ``chunk_size`` that cover ``count`` images."""
        return self._images_per_forward.chunks(count)

    def forward(self, images: Tensor) -> Tensor:
        """Run the model once on all ``images`` in the current gradient mode and return float32 logits (N, K).

        Call it inside `preserved`; `logits` and `evaluate` do.
        """
        logits = self.forward_uncounted(images)
        self._account.evaluations += len(images)
        if self.on_evaluated is not None:
            self.on_evaluated(len(images))
        return logits

    def forward_uncounted(self, images: Tensor) -> Tensor:
        """Do the same without counting, for a pass that computes a small part of the model: `ForwardFromLayer`."""
        self.check_rows(len(images))
        output = self._run(images, self._extra, in_bf16=self._in_bf16)
        logits = logits_from_output(output, self.readout.logits_from_output, self._run.named_below).float()
        if len(images) == 1 and found_in_output(output, self.readout.logits_from_output).ndim == 1:
            logits = logits.reshape(1, -1)  # `squeeze()` in a model takes a single image's axis as well
        if len(logits) != len(images):
            raise ValueError(f"Expected one row of logits per image ({len(images)}), but got {shape(logits)}.")
        return self.read(logits)

    def read(self, rows: Tensor) -> Tensor:
        """Return the logits (N, K) of what the model returned as its logits or probabilities, float32 (N, K)."""
        self._check_task(rows)
        logits = logits_of_probabilities(rows, self.task) if self.readout.output == "probability" else rows
        return torch.cat([-logits, logits], 1) if self.task == "binary" else logits

    def check_output(self, images: Tensor) -> None:
        """Raise ValueError if the last operation of the forward pass of ``images`` makes probabilities of the logits.

        Costs an evaluation, which is not counted. What the readout says is not doubted.
        """
        if self.readout.output != "auto":
            return
        with preserved(self.model), torch.no_grad(), LastOperation() as watched:
            output = self._run(images.clone(), self._extra)
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
        if self.task != "multiclass":
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
        return F.softmax(logits, 1) if self.task == "multiclass" else torch.sigmoid(logits)

    def autocast_for_the_model_only(self, device: torch.device) -> AbstractContextManager[None]:
        """Switch off the caller's autocast in the body, except where the model itself runs.

        It is meant for the model; matrix products of a method's own arithmetic would lose digits in it.
        """
        return self._run.autocast_for_the_model_only(device)

    def _check_task(self, logits: Tensor) -> None:
        single = logits.shape[1] == 1
        if self.task == "auto":
            self._account.task = "binary" if single else "multiclass"
        if self.task != "multilabel" and (self.task == "binary") != single:
            raise ValueError(
                f"Expected {'one logit' if self.task == 'binary' else 'two or more logits'} per image for "
                f"task={self.task!r}, but the model returned {logits.shape[1]}. Set `Readout(task=...)`."
            )


Model: TypeAlias = nn.Module | Classifier
"""What every public function accepts as ``model``."""
