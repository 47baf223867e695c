"""How a model is read: task, logits, forward and chunk size, grouped in one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_xai._checks import check_choice, check_count
from lightning_xai.model.outputs import LogitsFromOutput

Task = Literal["auto", "multiclass", "binary", "multilabel"]


@dataclass(frozen=True)
class Readout:
    """How class scores are read from a model.

    Args:
        task: ``"multiclass"`` (probability = softmax), ``"binary"`` (one logit per image: class 1, its negative is
            class 0; sigmoid), ``"multilabel"`` (sigmoid per class). ``"auto"``: one logit is binary, more are
            multiclass.
        logits_from_output: Where the logits are in what the model returns: a function of the output, a key or
            attribute, or an index. By default a tensor, the first of a tuple, or ``logits`` of a mapping or object.
        forward: Dotted name of the submodule to call, for modules that define only steps, such as ``"net"``.
        chunk_size: Images per forward. By default the validation batch's size in a Trainer, else that of the
            batch that was passed, so that memory never exceeds what the user already runs.

    Raises:
        ValueError: If ``task`` or ``chunk_size`` is out of range.
    """

    task: Task = "auto"
    logits_from_output: LogitsFromOutput | None = None
    forward: str | None = None
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.task, ("auto", "multiclass", "binary", "multilabel"), "task")
        if self.chunk_size is not None:
            check_count(self.chunk_size, "chunk_size")
