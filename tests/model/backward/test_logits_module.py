"""A user's model as a module that returns logits."""

import pytest
import torch
from torch import nn

from lightning_xai import Classifier, Readout
from lightning_xai.model.backward.logits_module import LogitsModule, as_module
from tests._nets import ConvNet, differences, state_of


def test_it_returns_counted_float32_logits_and_leaves_the_images():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1).bfloat16()

        def forward(self, x):
            return {"z": self.layer(x.mul_(2.0).flatten(1))}

    net, images = Net(), torch.tensor([[[[1.0, 2.0]]]])
    classifier = Classifier(net, Readout(logits_from_output="z"))
    module = LogitsModule(classifier)
    logits = module(images)
    expected = net.layer(torch.tensor([[2.0, 4.0]]).bfloat16()).float()
    assert torch.equal(logits, torch.cat([-expected, expected], 1))
    assert classifier.evaluations == 1
    assert images.tolist() == [[[[1.0, 2.0]]]]
    assert dict(module.named_children()) == {"model": net}
    assert not module.training


def test_layers_work_out_of_place_meanwhile_and_attributes_are_put_back():
    net = ConvNet()
    net.features[2].mine = 3
    before = state_of(net)

    def failing(module):
        relu = module.model.features[2]
        assert not relu.inplace
        relu.added, relu.mine = torch.ones(1), 4
        raise ArithmeticError

    with pytest.raises(ArithmeticError), as_module(Classifier(net)) as module:
        failing(module)
    assert net.features[2].inplace
    assert net.features[2].mine == 3
    assert not hasattr(net.features[2], "added")
    assert differences(before, state_of(net)) == []
