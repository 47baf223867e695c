from __future__ import annotations

import torch

from lightning_xai.functional import deletion_auc, insertion_auc, insertion_deletion
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, tiny_net


def _reference(view, num_steps="radau", ties="random", seed=0):
    return _naive.insertion_minus_deletion(view, num_steps, ties, seed)


ENTRY = Entry(
    "insertion_deletion",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"num_steps": 32},
        {"num_steps": 7, "ties": "first"},
        {"num_steps": 10, "ties": "last"},
        {"num_steps": 3, "seed": 9},
    ),
    shared=1,
)


def test_is_exactly_the_difference_of_its_parts():
    batch, net = Batch.draw(6), tiny_net()
    arguments = ENTRY.given(batch, net)
    difference = insertion_auc(**arguments) - deletion_auc(**arguments)
    torch.testing.assert_close(insertion_deletion(**arguments), difference, rtol=0, atol=0)


def test_is_logged_as_faithfulness():
    assert ENTRY.cls.key == "faithfulness"
