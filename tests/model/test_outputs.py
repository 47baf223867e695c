from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch

from lightning_xai.model.readout import logits_from_output

LOGITS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
OTHER = torch.full((3, 7), 9.0)
Named = namedtuple("Named", ["loss", "logits"])


@dataclass
class Output:
    logits: torch.Tensor
    hidden_states: torch.Tensor = None


class ModelOutput(OrderedDict):
    """As in transformers: an ordered dictionary with attributes, whose first entry may be the loss."""

    __getattr__ = OrderedDict.__getitem__


@pytest.mark.parametrize(
    ("output", "chosen"),
    [
        (LOGITS, None),
        ((LOGITS, -LOGITS), None),
        ((LOGITS, OTHER[0]), None),
        ([LOGITS], None),
        (((LOGITS, -LOGITS), OTHER), None),
        ({"logits": LOGITS, "features": OTHER}, None),
        (({"logits": LOGITS}, OTHER), None),
        (Output(LOGITS), None),
        (Named(torch.tensor(0.5), LOGITS), None),
        (ModelOutput(loss=torch.tensor(0.5), logits=LOGITS), None),
        ({"out": LOGITS}, "out"),
        ({0: LOGITS}, 0),
        (Output(OTHER, LOGITS), "hidden_states"),
        (ModelOutput(loss=OTHER, logits=LOGITS), "logits"),
        ((OTHER, LOGITS), 1),
        ((OTHER, LOGITS), -1),
        ({"a": {"b": LOGITS}}, lambda output: output["a"]["b"]),
        (LOGITS[:, :, None, None], None),
        ((OTHER, LOGITS[:, :, None]), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_logits_are_found(output, chosen):
    assert torch.equal(logits_from_output(output, chosen), LOGITS)


@pytest.mark.parametrize("size", [(3,), (3, 1), (3, 1, 1, 1)])
def test_a_single_logit_is_a_column(size):
    assert logits_from_output(torch.arange(3.0).view(size)).tolist() == [[0.0], [1.0], [2.0]]


def test_a_single_logit_of_one_image_may_be_squeezed_to_a_number():
    assert logits_from_output(torch.tensor(2.0)).tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("output", "chosen", "message"),
    [
        ({"scores": LOGITS, "a": 1}, None, r"a mapping with 'logits'\), but got dict with keys \['a', 'scores'\]"),
        ("text", None, "but got str. Set `Readout"),
        (None, None, "but got NoneType"),
        ((), None, "but got tuple"),
        ((LOGITS, OTHER), None, "with 2 and 7 columns: features among them"),
        (Output(None), None, "but got Output"),
        ({"a": LOGITS}, "b", r"to have 'b' \(`logits_from_output`\), but got dict with keys \['a'\]"),
        (Output(LOGITS), "b", "to have 'b' .*, but got Output"),
        ((LOGITS,), 3, "to have 3 .*, but got tuple"),
        (LOGITS, lambda output: "text", "Set `Readout"),
    ],
)
def test_what_is_no_logits_is_said(output, chosen, message):
    with pytest.raises((TypeError, ValueError), match=message):
        logits_from_output(output, chosen)


@pytest.mark.parametrize("size", [(3, 2, 4, 4), (3, 2, 5)])
def test_maps_are_no_logits(size):
    with pytest.raises(ValueError, match=r"shape \(N, K\) or \(N,\), but got \(3, 2"):
        logits_from_output(torch.zeros(size))
