"""A network whose gradients change along every path, and its two halves in float64 for formulas written naively."""

from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional as F

CHANNELS = 5


class Bent(nn.Module):
    """A convolution at the images' resolution, so that maps need no resizing, then a saturating head."""

    def __init__(self, side=8, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.hidden = nn.Linear(CHANNELS * side * side, 6)
        self.fc = nn.Linear(6, classes)
        nn.init.normal_(self.hidden.weight, std=0.3)

    def maps(self, x):
        return F.relu(self.conv(x))

    def head(self, maps):
        return self.fc(torch.tanh(self.hidden(maps.flatten(1))))

    def forward(self, x):
        return self.head(self.maps(x))


def bent():
    """Return the network, its copy in float64, images (3, 3, 8, 8) and classes."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = Bent()
        return net, deepcopy(net).double(), torch.randn(3, 3, 8, 8), torch.tensor([2, 0, 1])


def maps_of(net, image):
    """Return A (C, h, w) of one image."""
    return net.maps(image[None])[0].detach()


def gradient_of(net, image, target):
    """Return ∂y/∂A (C, h, w) of one image."""
    maps = net.maps(image[None]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(maps)[0, target], maps)
    return gradient[0]


def assert_close(found, expected, tolerance=1e-5):
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance * float(expected.abs().max()))
