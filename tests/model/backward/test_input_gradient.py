from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lightning_xai.model.backward.input_gradient import input_gradient
from lightning_xai.model.classifier import Classifier
from tests._nets import ConvNet, differences, images_through, state_of


def _first(logits):
    return logits[:, 0]


def _expected(model, images, loss=_first):
    leaf = images.clone().requires_grad_()
    return torch.autograd.grad(loss(model.eval()(leaf.clone())).sum(), leaf)[0]


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    gradient, logits = input_gradient(Classifier(net), torch.ones(1, 1, 1, 2), lambda y: y[:, 0] * y[:, 1])
    assert logits.tolist() == [[3.0, 7.0]]
    assert gradient.tolist() == [[[[7 * 1 + 3 * 3, 7 * 2 + 3 * 4]]]]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_mode_leaves_no_trace(mode):
    net, images = ConvNet().train(), torch.randn(3, 3, 8, 8)
    expected = _expected(_copy(net), images)
    before = state_of(net)
    with mode(), images_through(net) as count:
        inside = images.clone()
        gradient, logits = input_gradient(Classifier(net), inside, _first)
        assert inside.equal(images)
    assert count == [3]
    torch.testing.assert_close(gradient, expected)
    assert not gradient.requires_grad
    assert not logits.requires_grad
    assert not gradient.is_inference()
    assert differences(before, state_of(net)) == []


def _copy(net):
    copy = ConvNet()
    copy.load_state_dict(net.state_dict())
    return copy


def test_rows_belong_to_their_images():
    net, images = ConvNet(), torch.randn(3, 3, 8, 8)
    whole, _ = input_gradient(Classifier(net), images, _first)
    singles = [input_gradient(Classifier(net), images[[i]], _first)[0] for i in range(3)]
    torch.testing.assert_close(whole, torch.cat(singles))
    scalar, _ = input_gradient(Classifier(net), images, lambda logits: logits[:, 0].sum())
    torch.testing.assert_close(scalar, whole)


def test_frozen_in_place_from_the_start_and_half_precision():
    images = torch.randn(2, 3, 8, 8)
    net = nn.Sequential(nn.ReLU(inplace=True), ConvNet()).requires_grad_(False)
    gradient, _ = input_gradient(Classifier(net), images, _first)
    torch.testing.assert_close(gradient, _expected(net, images))
    assert gradient[images < 0].abs().max() == 0
    assert not any(p.requires_grad for p in net.parameters())
    coarse, logits = input_gradient(Classifier(net.bfloat16()), images, _first)
    assert coarse.dtype == logits.dtype == torch.float32
    assert F.cosine_similarity(coarse.flatten(), gradient.flatten(), dim=0) > 0.95


class Hidden(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.backbone, self.head = how, nn.Conv2d(3, 2, 3), nn.Linear(72, 2)

    def forward(self, images):
        if self.how == "detach":
            return self.head(self.backbone(images).detach().flatten(1))
        if self.how == "no_grad":
            with torch.no_grad():
                features = self.backbone(images)
            return self.head(features.flatten(1))
        if self.how == "checkpoint":
            return self.head(checkpoint(self.backbone, images, use_reentrant=True).flatten(1))
        with torch.no_grad():
            return self.head(self.backbone(images).flatten(1))


@pytest.mark.parametrize("how", ["detach", "no_grad", "checkpoint", "all"])
def test_says_that_no_gradient_reaches_the_input_and_restores(how):
    net, images = Hidden(how).train(), torch.randn(2, 3, 8, 8)
    before = state_of(net)
    with pytest.raises(RuntimeError, match=r"no gradient reaches the input: .* or use `use_reentrant=False`"):
        input_gradient(Classifier(net), images, _first)
    assert differences(before, state_of(net)) == []


def test_errors_of_the_loss_are_its_own_and_all_is_restored():
    net, images = ConvNet().train(), torch.randn(2, 3, 8, 8)

    def broken(logits):
        raise RuntimeError("no loss")

    before = state_of(net)
    with pytest.raises(RuntimeError, match="no loss"):
        input_gradient(Classifier(net), images, broken)
    assert differences(before, state_of(net)) == []
