"""A twin gives for shifted images what the model gives for the images, and differs in nothing else."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import Readout
from lightning_xai.model.shifted_twin import PaddedWith, shifted_twin
from tests._nets import ConvNet, FlattenNet, TinyViT


class Normalising(nn.Module):
    """Takes images in [0, 1], as some networks do, and normalises them itself."""

    def __init__(self):
        super().__init__()
        self.net = FlattenNet()

    def forward(self, x):
        return self.net((x - 0.5) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1))


def convolution(**options):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, **options), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETS = {
    "zeros": lambda: convolution(kernel_size=3, padding=1),
    "uneven": lambda: convolution(kernel_size=(2, 4), padding="same", dilation=(2, 1)),
    "strides": lambda: convolution(kernel_size=5, padding=(2, 1), stride=2),
    "reflect": lambda: convolution(kernel_size=3, padding=1, padding_mode="reflect"),
    "valid": lambda: convolution(kernel_size=3, padding="valid"),
    "no bias, groups": lambda: convolution(kernel_size=3, padding=1, groups=3, bias=False),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 4)),
    "batch norm": ConvNet,
    "normalises itself": Normalising,
    "vision transformer": TinyViT,
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", NETS)
def test_logits_of_shifted_images(name):
    torch.manual_seed(0)
    net = NETS[name]().eval()
    side = 16 if name == "vision transformer" else 8
    images, shift = torch.rand(3, 3, side, side), torch.tensor([-1.0, 2.0, 0.5]).view(3, 1, 1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    twin = shifted_twin(net, images, shift)
    others = torch.rand(4, 3, side, side)
    torch.testing.assert_close(twin(others + shift), net(others), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(twin(others), net(others), atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_gradients_are_those_of_the_model():
    net, shift = convolution(kernel_size=3, padding=1), torch.full((3, 1, 1), 4.0)
    images = torch.rand(2, 3, 8, 8)
    twin = shifted_twin(net, images, shift)
    gradients = []
    for model, given in ((net, images), (twin, images + shift)):
        given = given.clone().requires_grad_()
        gradients.append(torch.autograd.grad(model(given).square().sum(), given)[0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_padding_with_a_value():
    images = torch.rand(2, 2, 3, 3)
    padded = PaddedWith(torch.tensor([5.0, -1.0]), (1, 2, 0, 3))(images)
    assert torch.equal(padded[:, :, :3, 1:4], images)
    for channel, value in enumerate((5.0, -1.0)):
        assert torch.equal(padded[:, channel], F.pad(images, (1, 2, 0, 3), value=value)[:, channel])


def test_a_module_with_a_forward_of_another_name():
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = FlattenNet()

    model, images, shift = Steps(), torch.rand(2, 3, 8, 8), torch.ones(3, 1, 1)
    twin = shifted_twin(model, images, shift, Readout(forward="net"))
    torch.testing.assert_close(twin.net(images + shift), model.net(images), rtol=1e-4, atol=1e-5)


class TwoWays(FlattenNet):
    def forward(self, x):
        return super().forward(x) + x.mean((1, 2, 3))[:, None]


class Squared(FlattenNet):
    def forward(self, x):
        return super().forward(x.square())


class Uncopied(FlattenNet):
    def __deepcopy__(self, memo):
        raise RuntimeError("only one of me")


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (TwoWays(), r"^Expected the image to reach the model through its first layer `conv` alone, but .* logits"),
        (Squared(), r"^Expected a constant shift of the input to be constant at `conv`"),
        (nn.Flatten(), r"^Expected a model whose first layer is a Conv2d or Linear, .* but Flatten runs none"),
        (Uncopied(), r"^Expected a model that can be copied, .* only one of me"),
    ],
    ids=["two ways", "squared", "no layer", "not copied"],
)
def test_what_has_no_twin(net, text):
    with pytest.raises(ValueError, match=text):
        shifted_twin(net, torch.rand(2, 3, 8, 8), torch.ones(3, 1, 1))
