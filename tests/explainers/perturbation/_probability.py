"""What the naive versions ask: the target's probability of one image of numpy, in float64."""

import copy

import torch
from torch import nn

from tests._nets import ConvNet, calibrated


def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = calibrated(ConvNet(), size=16)
        nn.init.normal_(net.fc.weight)
    return net


def images(count=3, size=(16, 12)):
    """Return smooth noise, which has superpixels."""
    coarse = 2 * torch.randn(count, 3, 4, 3, generator=torch.Generator().manual_seed(5))
    return nn.functional.interpolate(coarse, size, mode="bilinear")


def probability(net, target):
    """Return the function of an image (C, H, W)."""
    double = copy.deepcopy(net).double().eval()

    def f(image):
        with torch.no_grad():
            return float(double(torch.from_numpy(image).double()[None]).softmax(1)[0, target])

    return f


class Additive(nn.Module):
    """One logit whose probability is linear in the values of the image; ``weight`` (C, H, W)."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def forward(self, x):
        return torch.logit((x.double() * self.weight.double()).sum((1, 2, 3)) + self.bias)
