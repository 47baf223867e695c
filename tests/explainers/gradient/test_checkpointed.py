"""Activation checkpointing runs parts of the network again, without rules: followed exactly, or refused."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_xai import LRP, DeepLift, GuidedBackprop


class Checkpointed(nn.Module):
    def __init__(self, act, reentrant):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), act, nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), act)
        self.head, self.reentrant = nn.Linear(36, 3), reentrant

    def forward(self, x):
        found = self.body(x) if self.reentrant is None else checkpoint(self.body, x, use_reentrant=self.reentrant)
        return self.head(found.flatten(1))


@pytest.mark.parametrize("explainer", [LRP(), DeepLift()], ids=["lrp", "deep_lift"])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.SiLU()], ids=["relu", "silu"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_what_replaces_derivatives_says_to_switch_it_off(explainer, act, reentrant):
    net = Checkpointed(act, reentrant).eval()
    with pytest.raises(RuntimeError, match=r"uses activation checkpointing, .* cannot follow: switch it off while"):
        explainer(net, torch.randn(2, 3, 8, 8), 1)
    net.reentrant = None
    assert bool(explainer(net, torch.randn(2, 3, 8, 8), 1).any())


def test_guided_backpropagation_follows_what_is_not_reentrant():
    net, images = Checkpointed(nn.ReLU(), False).eval(), torch.randn(2, 3, 8, 8)
    found = GuidedBackprop()(net, images, 1)
    net.reentrant = None
    torch.testing.assert_close(found, GuidedBackprop()(net, images, 1))
    net.reentrant = True
    with pytest.raises(RuntimeError, match="switch it off while explaining"):
        GuidedBackprop()(net, images, 1)


def test_a_detached_input_is_another_error():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    net.register_forward_pre_hook(lambda _, args: args[0].detach())
    with pytest.raises(RuntimeError, match="depend on the images differentiably"):
        LRP()(net, torch.randn(1, 3, 2, 2), 1)
