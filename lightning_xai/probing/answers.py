"""What model, explainers and metrics say about images: those of a batch, and of a probe of several sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Answers:
    """What model, explainers and metrics say about a batch; first axis N throughout.

    Attributes:
        logits: float32 (N, K).
        target: The explained class, int64 (N,).
        rows: Explainer -> metric -> values (N,) or (N, D), NaN where undefined.
        control_rows: Metric -> values of the random control.
        heatmaps: Explainer -> raw heatmaps (N, H, W); of images of several sizes NaN beyond the edges of smaller ones.
        small_heatmaps: Explainer -> the same at most 56×56, peak 1, float16.
        peaks: Explainer -> what the peak of each small heatmap was before, float32 (N,).
        heat_shares: Explainer -> area -> share of the heat there, (N,), of the areas that a `ShortcutAlarm` asks about.
        chance_shares: ``"area"`` and ``"center"`` -> area -> the share that is chance, (N,).
    """

    logits: Tensor
    target: Tensor
    rows: dict[str, dict[str, Tensor]]
    control_rows: dict[str, Tensor]
    heatmaps: dict[str, Tensor]
    small_heatmaps: dict[str, Tensor]
    peaks: dict[str, Tensor] = field(default_factory=dict)
    heat_shares: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    chance_shares: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def each(self, change: Callable[..., Tensor], *others: Answers) -> Answers:
        """Return the same with ``change`` made to every tensor, such as gathering the rows of all processes.

        Args:
            change: A function of a tensor, and of those in the same place of ``others``.
            others: Answers to the same questions.
        """
        every = (self, *others)

        def nested(kind: str) -> dict[str, dict[str, Tensor]]:
            parts = [getattr(one, kind) for one in every]
            return {
                outer: {inner: change(*(part[outer][inner] for part in parts)) for inner in found}
                for outer, found in parts[0].items()
            }

        return Answers(
            logits=change(*(one.logits for one in every)),
            target=change(*(one.target for one in every)),
            rows=nested("rows"),
            control_rows={name: change(*(one.control_rows[name] for one in every)) for name in self.control_rows},
            heatmaps={name: change(*(one.heatmaps[name] for one in every)) for name in self.heatmaps},
            small_heatmaps={name: change(*(one.small_heatmaps[name] for one in every)) for name in self.small_heatmaps},
            peaks={name: change(*(one.peaks[name] for one in every)) for name in self.peaks},
            heat_shares=nested("heat_shares"),
            chance_shares=nested("chance_shares"),
        )


def joined(answers: Sequence[Answers], places: Sequence[Sequence[int]]) -> Answers:
    """Return the answers about a whole probe from those about its groups of images of one size.

    Args:
        answers: About each group.
        places: Where the images of each group stand in the probe.

    Raises:
        ValueError: If a metric returns another number of columns for images of another size, which cannot be one value.
    """
    order = torch.tensor([place for group in places for place in group]).argsort()
    first, *others = answers
    return first.each(lambda *parts: torch.cat(_filled_up(parts))[order], *others) if others else first


def _filled_up(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors (n, ...) that can stand in one: heatmaps (n, h, w) with NaN up to the largest sides."""
    shapes = [part.shape[1:] for part in parts]
    if len(set(shapes)) == 1:
        return list(parts)
    if parts[0].ndim != 3:
        raise ValueError(
            "Expected as many numbers per image whatever its size, because images of several sizes make one value, "
            f"but `score` of a metric returns rows of {sorted(map(tuple, shapes))}."
        )
    height, width = (max(shape[side] for shape in shapes) for side in (0, 1))
    return [F.pad(part, (0, width - part.shape[2], 0, height - part.shape[1]), value=math.nan) for part in parts]
