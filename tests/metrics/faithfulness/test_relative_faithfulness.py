from __future__ import annotations

import math

import torch
from torch import nn

from lightning_xai.functional import insertion_deletion, relative_faithfulness
from lightning_xai.metrics import RelativeFaithfulness
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, tiny_net


def _reference(view, num_steps="radau", ties="random", seed=0):
    clean = view.f(view.image)
    return _naive.insertion_minus_deletion(view, num_steps, ties, seed) / clean if clean >= 1e-3 else math.nan


ENTRY = Entry(
    "relative_faithfulness",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"num_steps": 32},
        {"num_steps": 7, "ties": "first"},
        {"num_steps": 10, "ties": "last"},
        {"num_steps": 3, "seed": 9},
    ),
    undefined_by_model=True,
    shared=1,
)


class Shifted(nn.Module):
    """A net whose first class is ``shift`` logits less likely."""

    def __init__(self, shift, scale=1.0):
        super().__init__()
        self.net, self.shift, self.scale = tiny_net(), shift, scale

    def forward(self, images):
        return self.scale * self.net(images) - self.shift * torch.tensor([1.0, 0.0, 0.0])


def test_undefined_where_the_class_is_not_seen():
    metric = RelativeFaithfulness(num_steps=4)
    metric.update(**{**ENTRY.given(Batch.draw(4), Shifted(50.0)), "target": torch.tensor([0, 1, 0, 2])})
    assert metric.rows.isnan().tolist() == [True, False, True, False]
    assert metric.undefined == 2
    assert bool(metric.compute().isfinite())


def test_does_not_move_with_confidence_as_insertion_minus_deletion_does():
    # e⁻¹ times less likely: both curves shrink alike while the probability is small
    batch = Batch.draw(6)
    relative, absolute = [], []
    for shift in (4.0, 5.0):
        arguments = {**ENTRY.given(batch, Shifted(shift, scale=0.2)), "target": 0}
        relative.append(relative_faithfulness(**arguments))
        absolute.append(insertion_deletion(**arguments))
    torch.testing.assert_close(relative[1], relative[0], rtol=0.05, atol=1e-3)
    torch.testing.assert_close(absolute[1], absolute[0] * math.exp(-1), rtol=0.05, atol=1e-4)
