"""What no rule covers is refused by its usual name, whatever it is called; what is linear passes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import LRP, DeepLift

X = torch.tensor([[[[1.0, 2.0], [0.5, 3.0]]]])
ONES = torch.ones(1, 1, 2, 2)
OPERATIONS = {
    "__rdiv__": [lambda x: 1 / x, lambda x: torch.div(1, x), lambda x: torch.divide(ONES, x), lambda x: ONES / x],
    "__rpow__": [lambda x: 2**x, lambda x: torch.pow(2, x), lambda x: torch.pow(ONES, x)],
    "__rclamp__": [lambda x: torch.clamp(ONES, min=x)],
    "floor_divide": [lambda x: torch.div(x, 2, rounding_mode="floor")],
    "reciprocal": [torch.reciprocal],
    "softmax": [lambda x: torch.special.softmax(x, -1), lambda x: x.softmax(-1)],
    "log_softmax": [lambda x: torch.special.log_softmax(x, -1)],
    "maximum": [lambda x: torch.max(x, ONES), lambda x: torch.maximum(ONES, x)],
    "mul": [lambda x: x * x, lambda x: torch.multiply(x, x)],
    "einsum": [lambda x: torch.einsum("nchw,nchw->nchw", [x, x])],
    "log2": [torch.log2],
    "log10": [torch.log10],
    "exp2": [torch.special.exp2],
    "tan": [torch.tan],
    "sinh": [torch.sinh],
    "cosh": [torch.cosh],
    "acos": [torch.arccos],
    "asin": [torch.arcsin],
    "logit": [torch.special.logit],
    "hypot": [lambda x: torch.hypot(x, ONES)],
    "logaddexp": [lambda x: torch.logaddexp(x, ONES)],
    "var_mean": [lambda x: torch.var_mean(x, dim=1, correction=0)[1]],
    "linalg_norm": [lambda x: torch.linalg.norm(x, dim=(2, 3))],
    "linalg_vector_norm": [torch.linalg.vector_norm],
    "cosine_similarity": [lambda x: F.cosine_similarity(x, ONES)],
    "pairwise_distance": [lambda x: F.pairwise_distance(x, ONES)],
    "cdist": [lambda x: torch.cdist(x, ONES)],
    "round": [torch.round],
    "floor": [torch.floor],
    "ceil": [torch.ceil],
}
NOT_THROUGH_ZERO = {
    "sigmoid": [torch.sigmoid, torch.special.expit],
    "clamp": [lambda x: torch.clip(x, 0.0, 2.0), lambda x: (x + 0).clip_(max=2.0)],
    "logsigmoid": [F.logsigmoid],
    "threshold": [lambda x: F.threshold(x, 1.5, 0.0), lambda x: F.threshold_(x + 0, 1.5, 0.0)],
}


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x).reshape(len(x), -1)[:, :1]


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def cases(operations):
    return [pytest.param(n, f, id=f"{n}-{i}") for n, fs in operations.items() for i, f in enumerate(fs)]


@pytest.mark.parametrize("explainer", [LRP(), DeepLift(0.5)], ids=["lrp", "deep_lift"])
@pytest.mark.parametrize(("name", "function"), cases(OPERATIONS))
def test_refused_by_its_usual_name(name, function, explainer):
    with pytest.raises(ValueError, match=f"Expected a network of linear layers, .* but `{name}` is none of these"):
        explainer(Net(function), X, 1)


@pytest.mark.parametrize(("name", "function"), cases(NOT_THROUGH_ZERO))
def test_functions_of_each_value_that_deep_lift_knows_and_lrp_does_not(name, function):
    with pytest.raises(ValueError, match=f"but `{name}` is none of these"):
        LRP()(Net(function), X, 1)
    change = function(X).flatten()[0] - function(0.0 * X).flatten()[0]
    assert_close(DeepLift()(Net(function), X, 1).sum(), change)


@pytest.mark.parametrize(
    ("alias", "function"),
    [
        (torch.special.erf, torch.erf),
        (torch.special.expm1, torch.expm1),
        (torch.special.log1p, torch.log1p),
        (torch.arctan, torch.atan),
        (torch.arcsinh, torch.asinh),
        (torch.absolute, torch.abs),
    ],
)
def test_aliases_follow_the_rule(alias, function):
    """LRP hands on the whole of f(z): to the one input that z has."""
    expected = torch.zeros(1, 2, 2)
    expected[0, 0, 0] = function(torch.tensor(1.0))
    assert_close(LRP()(Net(alias), X, 1), expected)
    assert_close(DeepLift()(Net(alias), X, 1), expected)


def test_what_is_linear_passes_and_so_does_what_returns_no_dependent_tensor():
    def many(x):
        assert x.size(2) == 2
        assert bool((x >= x.flip(3)).any())
        y = torch.einsum("nchw,hk->nckw", x, torch.eye(2)).expand_as(x)
        y = torch.concat([y.roll(1, -1), -y], 1).transpose(2, 3).narrow(1, 1, 1)
        return 4.0 - torch.true_divide(torch.stack([-y, -y]).sum(0), 4.0).view_as(x)

    expected = torch.zeros(1, 2, 2)
    expected[0, 0, 0] = -0.5
    assert_close(LRP()(Net(many), X, 1), expected)
    assert_close(DeepLift()(Net(many), X, 1), expected)
