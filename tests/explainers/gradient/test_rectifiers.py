"""Guided backpropagation by hand, however a ReLU is written."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import GuidedBackprop

ZERO = torch.zeros(())
RECTIFIERS = {
    "clamp": lambda x: x.clamp(0),
    "clamp by name": lambda x: torch.clamp(x, min=0.0),
    "clip": lambda x: x.clip(min=0),
    "clamp in place": lambda x: (x.clamp_(min=0), x)[1],
    "clamp by a tensor": lambda x: x.clamp(min=ZERO),
    "clamp from above, too": lambda x: x.clamp(0, 100),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_min by name": lambda x: torch.clamp_min(x, min=0),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "threshold in place": lambda x: F.threshold(x, threshold=0.0, value=0.0, inplace=True),
    "module": nn.Threshold(0, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum of zero and": lambda x: torch.maximum(ZERO, x),
    "maximum by name": lambda x: torch.maximum(x, other=ZERO),
    "max": lambda x: torch.max(x, ZERO),
    "hardtanh": lambda x: F.hardtanh(x, 0, 100),
    "hardtanh in place": lambda x: F.hardtanh_(x, 0.0, 100.0),
}
OTHERS = {
    "clamp above 0": lambda x: x.clamp(min=-1),
    "clamp from above": lambda x: x.clamp(max=0),
    "threshold to another value": lambda x: F.threshold(x, 0, -1),
    "threshold at another place": lambda x: F.threshold(x, 1, 0),
    "maximum with another": lambda x: torch.maximum(x, torch.full_like(x, -1.0)),
    "max over a dimension": lambda x: torch.max(x, 1, keepdim=True)[0],
}


class Net(nn.Module):
    """Scores ``3 f(z_0) - f(z_1) + 2 f(z_2)`` of ``z = (2a, a + b, a - 5b)``."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False), function
        self.first.weight.data = torch.tensor([[2.0, 0.0], [1.0, 1.0], [1.0, -5.0]])
        self.last.weight.data = torch.tensor([[3.0, -1.0, 2.0]])

    def forward(self, x):
        return self.last(self.function(self.first(x.flatten(1))))


@pytest.mark.parametrize("function", RECTIFIERS.values(), ids=RECTIFIERS)
def test_however_it_is_written(function):
    """At (5, 1), z = (10, 6, 0): the negative gradient of z_1 stops, and so does that of z_2, which is 0."""
    found = GuidedBackprop()(Net(function), torch.tensor([[[[5.0, 1.0]]]]), 1)
    assert found.tolist() == [[[6.0, 0.0]]]


@pytest.mark.parametrize("function", OTHERS.values(), ids=OTHERS)
def test_what_rectifies_elsewhere_is_no_relu(function):
    net = Net(function)
    net.last = nn.LazyLinear(1)
    net(torch.ones(1, 1, 1, 2))
    with pytest.raises(ValueError, match="rectifies by ReLU for guided backpropagation, but Net has none"):
        GuidedBackprop()(net, torch.tensor([[[[5.0, 1.0]]]]), 1)
