from __future__ import annotations

import math

import torch
from torch import nn

from lightning_xai.metrics import RelativeFaithfulness
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, tiny_net


def _reference(view, num_steps=32, ties="random", seed=0):
    insertion, deletion = _naive.insertion_and_deletion(view, num_steps, ties, seed)
    highest = max(insertion + deletion)
    return (_naive.area(insertion) - _naive.area(deletion)) / highest if highest >= 1e-3 else math.nan


ENTRY = Entry(
    "relative_faithfulness",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"num_steps": 7, "ties": "first"}, {"num_steps": 10, "ties": "last"}, {"num_steps": 3, "seed": 9}),
)


class Shifted(nn.Module):
    """A net whose first class is ``shift`` logits less likely."""

    def __init__(self, shift):
        super().__init__()
        self.net, self.shift = tiny_net(), shift

    def forward(self, images):
        return self.net(images) - self.shift * torch.tensor([1.0, 0.0, 0.0])


def test_undefined_where_the_class_is_never_seen():
    metric = RelativeFaithfulness(num_steps=4)
    batch = Batch.draw(4)
    metric.update(**{**ENTRY.given(batch, Shifted(50.0)), "target": torch.tensor([0, 1, 0, 2])})
    assert metric.rows.isnan().tolist() == [True, False, True, False]
    assert metric.undefined == 2
    assert bool(metric.compute().isfinite())


def test_removes_most_of_the_confidence():
    # a class of small probability p: both curves scale with p, their ratio does not
    batch = Batch.draw(6)
    arguments = {**ENTRY.given(batch, None), "target": 0}
    values = []
    for shift in (12.0, 13.0):
        metric = RelativeFaithfulness(num_steps=8)
        metric._score = None
        metric.update(**{**arguments, "model": Scaled(shift)})
        values.append(metric.rows)
    torch.testing.assert_close(*values, rtol=1e-2, atol=1e-3)


class Scaled(Shifted):
    """The same, with logits of small range, so that the class's probability is about e^(6 - shift)."""

    def forward(self, images):
        return super().forward(images).clamp(-25, 25) * 0.1 + torch.tensor([6.0, 0.0, 0.0])
