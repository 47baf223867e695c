"""Rules by operation: met however they are called, in place where the model wants that, and no trace left."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai.model.backward.operation_rules import ruled, sent_back
from lightning_xai.model.classifier import Classifier
from tests._nets import ConvNet, differences, state_of

X = torch.tensor([[[[1.0, -2.0]]]])


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.act, self.scale, self.function = nn.ReLU(inplace=True), nn.Parameter(torch.tensor(3.0)), function

    def forward(self, x):
        return (self.function(self, x * self.scale)).flatten(1)


WAYS = {
    "module, in place": lambda net, x: net.act(x),
    "module, twice": lambda net, x: net.act(net.act(x)),
    "function": lambda net, x: F.relu(x),
    "function, in place": lambda net, x: F.relu(x, inplace=True),
    "function by name": lambda net, x: F.relu(input=x),
    "method": lambda net, x: x.relu(),
    "method, in place": lambda net, x: x.relu_(),
    "in place, result dropped": lambda net, x: (x.relu_(), x)[1],
    "in place, then added to": lambda net, x: x.relu_().add_(0.0),
}
NOT_PLAINLY = {"module, twice", "in place, then added to"}  # autograd itself cannot: ReLU's output has changed


def seven(call):
    """Send back seven times what arrives, whatever the sign."""
    return sent_back(call.source, call.run(call.source), lambda gradient: 7 * gradient)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_however_an_operation_is_called(way):
    classifier, leaf = Classifier(Net(way)), X.clone().requires_grad_()
    calls = 2 if way is WAYS["module, twice"] else 1
    with ruled(classifier, {"relu": seven}) as met:
        logits = classifier.forward(leaf.clone())
        (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    assert logits.tolist() == [[3.0, 0.0]]
    assert gradient.flatten().tolist() == [3.0 * 7**calls] * 2
    assert "relu" in met


@pytest.mark.parametrize("way", sorted(WAYS.keys() - NOT_PLAINLY))
def test_a_call_that_proceeds_as_it_was_made(way):
    def doubled(call):
        result = call.proceed()
        result.register_hook(lambda gradient: 2 * gradient)
        return result

    classifier, leaf = Classifier(Net(WAYS[way])), X.clone().requires_grad_()
    with ruled(classifier, {"relu": doubled}):
        logits = classifier.forward(leaf.clone())
        (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    assert logits.tolist() == [[3.0, 0.0]]
    assert gradient.flatten().tolist() == [6.0, 0.0]


def test_what_does_not_depend_on_the_images_has_no_rule():
    net = Net(lambda net, x: x + (net.scale * torch.ones(2)).relu())
    with ruled(Classifier(net), {"relu": lambda call: pytest.fail("a rule for a constant")}):
        Classifier(net).forward(X.clone().requires_grad_())


def test_parts_under_no_grad_have_no_rule():
    def detached(net, x):
        with torch.no_grad():
            y = x.relu()
        return x + y

    net = Net(detached)
    with ruled(Classifier(net), {"relu": lambda call: pytest.fail("a rule without a graph")}):
        Classifier(net).forward(X.clone().requires_grad_())


def test_a_refused_operation_is_named_with_its_module():
    net = nn.Sequential(nn.Sequential(nn.Identity(), nn.Sigmoid()), nn.Flatten())
    before = state_of(net)
    with (
        pytest.raises(ValueError, match=r"^no `sigmoid` in `0\.1`$"),
        ruled(Classifier(net), {}, lambda name, _: "no {operation}" if name == "sigmoid" else None),
    ):
        Classifier(net).forward(X.clone().requires_grad_())
    assert differences(before, state_of(net)) == []


def test_refusing_hears_how_many_arguments_depend_on_the_images():
    heard = {}
    net = Net(lambda net, x: (x * net.scale) * (x + 1.0))

    def hear(name, dependent):
        heard.setdefault(name, []).append(dependent)

    with ruled(Classifier(net), {}, hear):
        Classifier(net).forward(X.clone().requires_grad_())
    assert heard["mul"] == [1, 1, 2]  # parameters require no gradient meanwhile
    assert heard["add"] == [1]


def test_nothing_is_left_on_the_model():
    net = ConvNet()
    net.features[0].requires_grad_(False)
    before = state_of(net)
    with ruled(Classifier(net), {"relu": seven}):
        assert not any(p.requires_grad for p in net.parameters())
        Classifier(net).forward(torch.randn(2, 3, 8, 8).requires_grad_())
    assert differences(before, state_of(net)) == []


def test_the_derivative_of_a_call():
    found = []

    def keep(call):
        found.append(call.derivative())
        return call.run(call.source)

    with ruled(Classifier(Net(lambda net, x: x.tanh_())), {"tanh": keep}):
        Classifier(Net(lambda net, x: x.tanh_())).forward(X.clone().requires_grad_())
    torch.testing.assert_close(found[0], 1 - torch.tanh(3 * X) ** 2)
