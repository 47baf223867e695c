"""Keep what the steps of a validation say about every image, by hooks that only read."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_xai.model.call import ForwardArguments
from lightning_xai.model.preserve import is_preserved
from lightning_xai.model.readout import Readout, called_module, is_compiled, logits_from_output, outside_compiled
from lightning_xai.probing.sample import Sample, sample_of_checked
from lightning_xai.probing.selection import keys_of_images
from lightning_xai.probing.validation import ValidationShare

MOST_IMAGES = 50_000
MOST_VALUES = 1 << 24  # logits that are kept where only accuracy is asked for, 64 MiB
WatchImages: TypeAlias = Callable[[int, Sample, list[Tensor]], object]
"""Is told loader, images and, first axis n, keys, what the model returned, and labels if there are any."""
_MOST_ON_DEVICE = 1 << 22  # values of a loader, 16 MiB; beyond, they go to the CPU, so rarely that no step waits for it


class WatchedValidation:
    """Keep the logits of every image of a validation, as its steps compute them.

    It only reads, evaluates nothing, and a step never waits for a device because of it: keys, labels and logits stay
    there until the validation's end, or until they are many.

    Args:
        module: The LightningModule.
        readout: Says which module is called, and where its logits are.
        redirected: Whether the strategy wraps the module, and runs its steps by a call of the wrapper.
        most_images: That are kept.
        most_values: Logits that are kept.
        watch_images: Is told of each batch, with its images as they were before the step; it may raise.

    Attributes:
        arguments: Of the called module.
    """

    def __init__(
        self,
        module: nn.Module,
        readout: Readout,
        *,
        redirected: bool = False,
        most_images: int = MOST_IMAGES,
        most_values: float = math.inf,
        watch_images: WatchImages | None = None,
    ) -> None:
        self.problem: str | None = None
        self._readout, self._left, self._values_left = readout, most_images, most_values
        self._complete = True
        self._parts: dict[int, list[list[Tensor]]] = defaultdict(list)
        self._batch: tuple[int, Tensor, Tensor | None] | None = None  # loader, keys, labels of the running step
        self._watch_images = watch_images
        self._sample: Sample | None = None
        self._rows: list[Tensor] = []
        self._handles: list[RemovableHandle] = []
        called = called_module(module, readout.forward)
        self._name, self.arguments = type(called).__name__, ForwardArguments(called)
        self._outermost = self._depth = -1 if redirected and called is module else 0
        layers = {} if is_compiled(module) else outside_compiled(module)
        watched = next((one for one in layers if called in (one, getattr(one, "_orig_mod", None))), None)
        if watched is None:
            self.problem = f"{self._name} is called inside compiled code"
        else:
            self._handles = [
                watched.register_forward_pre_hook(self._enter),
                watched.register_forward_hook(self._leave),
            ]

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy of the module, which copies its hooks, have one that listens to nothing."""
        return _deaf, ()

    def begin_batch(self, loader: int, sample: Sample) -> None:
        """Note the images and labels of a step that begins, which it may change, and what comes with the images.

        Args:
            loader: Its index.
            sample: The batch; see `unchecked_sample`.
        """
        if self.problem is not None:
            return
        if not self._left:
            self._complete = False
            self.stop()
            return
        labels = sample.labels
        given = None if labels is None else torch.as_tensor(labels).detach().as_subclass(Tensor).clone()
        keys = keys_of_images(sample.images, sample.extra)
        self._batch, self._rows, self._depth = (loader, keys, given), [], self._outermost
        if self._watch_images is not None:
            copied = {"images": sample.images.detach().clone(), "labels": given}
            self._sample = sample_of_checked(**{**vars(sample), **copied})

    def end_batch(self) -> None:
        """Keep what the step computed, if it called the module once, with all images."""
        if self._batch is None or self.problem is not None:
            return
        (loader, keys, labels), self._batch = self._batch, None
        if len(self._rows) != 1 or len(self._rows[0]) != len(keys):
            times = ["not at all", "once, but not with all images of the batch"]
            said = times[len(self._rows)] if len(self._rows) < 2 else f"{len(self._rows)} times"
            self.give_up(
                f"a step calls {self._name} {said}; name a module that it calls once, if any: Readout(forward=)"
            )
            return
        part = [keys, self._rows[0], *([] if labels is None else [labels])]
        self._let_watch(loader, part)
        width = max(self._rows[0][0].numel(), 1)
        self._left = int(min(self._left, self._values_left // width))
        self._complete = self._complete and len(keys) <= self._left
        self._parts[loader].append([tensor[: self._left] for tensor in part])
        self._values_left -= width * min(len(keys), self._left)
        self._left -= min(len(keys), self._left)
        if keys.device.type != "cpu":
            on_device = [one for one in self._parts[loader] if one[0].device.type != "cpu"]
            if sum(one[1].numel() for one in on_device) > _MOST_ON_DEVICE:
                self._parts[loader] = [[tensor.cpu() for tensor in one] for one in self._parts[loader]]

    def _let_watch(self, loader: int, part: list[Tensor]) -> None:
        if self._watch_images is None or self._sample is None:
            return
        try:
            with torch.inference_mode(False), torch.no_grad():
                self._watch_images(loader, self._sample, part)
        except Exception as error:  # what is shown beside the scores must not end a validation
            self._watch_images = None
            rank_zero_warn(f"ExplanationMonitor shows no failures of this validation: {type(error).__name__}: {error}")
        self._sample = None

    def give_up(self, problem: str) -> None:
        """Keep nothing of this validation, for a reason."""
        self.problem, self._batch = problem, None
        self._parts.clear()
        self.stop()

    def stop(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def shares(self) -> dict[int, ValidationShare]:
        """Return what was kept of each loader, on the CPU.

        Raises:
            RuntimeError: If the batches of a loader do not fit together.
        """
        found = {}
        for loader, parts in self._parts.items():
            keys, rows, *labels = (torch.cat([part.cpu() for part in column]) for column in zip(*parts, strict=True))
            blank = torch.zeros(len(keys), 1, 1, 1)
            read = Sample(blank, labels=labels[0]).labels if labels else None
            found[loader] = ValidationShare(keys, read, rows, self._complete)
        return found

    def _enter(self, module: nn.Module, _: Any) -> None:
        self._depth += not is_preserved(module)  # else it is a call of another monitor

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        if is_preserved(module):
            return
        self._depth -= 1
        if self._batch is None or self._depth != 0:
            return
        try:
            rows = logits_from_output(output, self._readout.logits_from_output).detach()
        except Exception as error:  # of a user's output, or their function of it
            self.problem = f"what {self._name} returns cannot be read: {error}"
            return
        single = len(self._batch[1]) == 1 and len(rows) != 1  # `squeeze()` took a single image's axis as well
        self._rows.append((rows.reshape(1, -1) if single else rows).clone())


def _deaf() -> WatchedValidation:
    deaf = object.__new__(WatchedValidation)
    deaf._batch, deaf._depth, deaf._handles = None, 0, []
    return deaf
