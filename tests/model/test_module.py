import lightning as L
import pytest
import torch
from torch import nn

from lightning_xai.model.readout import called_module, named_layers, unwrapped
from tests._nets import ConvNet


class Steps(L.LightningModule):
    """A LightningModule that defines steps only."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)

    def training_step(self, batch):
        return batch


@pytest.fixture
def process_group():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_parallel_wrappers_are_taken_off(process_group):
    net = ConvNet()
    assert unwrapped(net) is net
    assert unwrapped(nn.DataParallel(net)) is net
    assert unwrapped(nn.parallel.DistributedDataParallel(net)) is net


@pytest.mark.parametrize("model", [lambda x: x, "resnet18", None, ConvNet])
def test_what_is_no_module_is_said(model):
    with pytest.raises(TypeError, match=r"Expected `model` to be a torch\.nn\.Module or a Classifier, but got "):
        unwrapped(model)


def test_names_are_those_of_the_uncompiled_network():
    net = ConvNet()
    names = set(named_layers(net))
    assert {"features", "features.0", "fc"} < names
    assert set(named_layers(torch.compile(net, backend="eager"))) == names
    part = ConvNet()
    inner = part.features
    part.features = torch.compile(part.features, backend="eager")
    part.fc = torch.compile(part.fc, backend="eager")
    assert set(named_layers(part)) == names
    assert named_layers(part)["features"] is inner


class TestCalledModule:
    def test_a_module_with_forward_is_called_itself(self):
        for net in (ConvNet(), torch.compile(ConvNet(), backend="eager")):
            assert called_module(net, None) is net

    def test_a_forward_given_to_the_instance_counts(self):
        module = Steps(a=ConvNet(), b=ConvNet())
        module.forward = module.a.forward
        assert called_module(module, None) is module

    def test_the_only_child_with_parameters_stands_in_for_a_missing_forward(self):
        module = Steps(net=ConvNet(), loss=nn.CrossEntropyLoss(), augment=nn.Sequential(nn.Identity()))
        assert called_module(module, None) is module.net

    def test_a_name_decides(self):
        module = Steps(net=ConvNet(), teacher=ConvNet())
        assert called_module(module, "teacher") is module.teacher
        assert called_module(module, "net.features") is module.net.features

    def test_several_children_are_listed(self):
        module = Steps(net=ConvNet(), teacher=ConvNet(), loss=nn.CrossEntropyLoss())
        with pytest.raises(
            ValueError,
            match=r"Expected Steps to define `forward`, or `Readout\(forward=...\)` .* parameters: net, teacher\)",
        ):
            called_module(module, None)
        with pytest.raises(ValueError, match="children with parameters: none"):
            called_module(Steps(), None)

    def test_an_unknown_name_gets_the_nearest(self):
        with pytest.raises(ValueError, match=r"Expected `forward` to be one of .*'techer'. Did you mean 'teacher'\?"):
            called_module(Steps(net=ConvNet(), teacher=ConvNet()), "techer")
