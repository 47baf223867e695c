"""Each method by its formula, written naively, and what it promises."""

import math

import pytest
import torch
from torch import nn

from lightning_xai import (
    Classifier,
    DeepLift,
    ExpectedGradients,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Readout,
    Saliency,
    SmoothGrad,
    list_explainers,
)
from lightning_xai._randomness import normal
from lightning_xai.explainers.gradient.reduction import reduced
from lightning_xai.functional import completeness
from tests._nets import ConvNet, calibrated, images_through
from tests.explainers._made import made
from tests.explainers.gradient._nets import Modules, Residual

TARGET = torch.tensor([0, 2, 1])


def images(count=3, side=8):
    return torch.randn(count, 3, side, side)


def smooth_net():
    """Without kinks, so that quadrature converges; bent enough to need it."""
    net = Modules(act=nn.Tanh)
    net.pool = nn.AvgPool2d(2)
    with torch.no_grad():
        net.conv1.weight.mul_(3.0)
    return net


def gradient(net, batch, target):
    leaf = batch.clone().requires_grad_()
    (found,) = torch.autograd.grad(net(leaf).gather(1, target[:, None]).sum(), leaf)
    return found


def change(net, batch, target, baseline=0.0):
    return (net(batch) - net(torch.full_like(batch, baseline))).gather(1, target[:, None])[:, 0].detach()


def assert_close(found, expected, tolerance=1e-5):
    expected = expected.detach().float()
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


class TestReduction:
    values = torch.tensor([[[[1.0, -4.0]], [[-2.0, 2.0]]], [[[5.0, 5.0]], [[5.0, 5.0]]]])

    def test_by_hand(self):
        assert reduced(self.values, "sum").tolist() == [[[-1.0, -2.0]], [[10.0, 10.0]]]
        assert reduced(self.values, "abs_max").tolist() == [[[2.0, 4.0]], [[5.0, 5.0]]]
        assert_close(reduced(self.values, "max"), torch.tensor([[[5 / 6, 1.0]], [[0.0, 0.0]]]))

    def test_is_an_argument_of_each_method_and_unknown_ones_are_listed(self):
        for make in (Saliency, InputXGradient, SmoothGrad, IntegratedGradients, ExpectedGradients, DeepLift):
            with pytest.raises(
                ValueError, match="Expected `reduction` to be one of 'sum', 'abs_max', 'max', but got 'l2'"
            ):
                make(reduction="l2")

    @pytest.mark.parametrize("reduction", ["sum", "abs_max", "max"])
    def test_of_a_gradient(self, reduction):
        net, batch = Modules(), images()
        expected = reduced(gradient(net, batch, TARGET), reduction)
        assert_close(Saliency(reduction=reduction)(net, batch, TARGET), expected)


def test_saliency_and_input_times_gradient():
    net, batch = Modules(), images()
    found = gradient(net, batch, TARGET)
    assert_close(Saliency()(net, batch, TARGET), found.abs().amax(1))
    assert_close(InputXGradient()(net, batch, TARGET), (batch * found).sum(1))


def test_the_single_logit_s_negative_is_class_0():
    net, batch = Modules(classes=1), images()
    assert torch.equal(InputXGradient()(net, batch, 0), -InputXGradient()(net, batch, 1))
    assert_close(DeepLift()(net, batch, 0), -DeepLift()(net, batch, 1))
    assert_close(IntegratedGradients(5)(net, batch, 0), -IntegratedGradients(5)(net, batch, 1))


def test_multilabel_and_named_logits():
    class Output(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Modules()

        def forward(self, x):
            return {"scores": self.net(x)}

    net, batch = Output(), images()
    classifier = Classifier(net, Readout("multilabel", logits_from_output="scores"))
    for explainer in (IntegratedGradients(5), DeepLift()):
        assert_close(explainer(classifier, batch, TARGET), explainer(net.net, batch, TARGET))


class TestSmoothGrad:
    def test_is_the_mean_signed_gradient_at_noisy_images(self):
        net, batch = smooth_net(), images()
        batch[1] *= 3
        total = torch.zeros_like(batch)
        for index in range(4):
            noise = normal(torch.zeros(1, dtype=torch.int64), (3, 8, 8), seed=7, sample=index)[0]
            for row in range(3):
                sigma = 0.2 * (batch[row].max() - batch[row].min())
                total[row] += gradient(net, (batch[row] + sigma * noise)[None], TARGET[row : row + 1])[0] / 4
        assert_close(SmoothGrad(4, 0.2, 7)(net, batch, TARGET), total.abs().amax(1))
        assert_close(SmoothGrad(4, 0.2, 7, reduction="sum")(net, batch, TARGET), total.sum(1))

    def test_without_noise_it_is_saliency(self):
        net, batch = Modules(), images()
        assert_close(SmoothGrad(3, 0.0)(net, batch, TARGET), Saliency()(net, batch, TARGET))

    def test_of_a_quadratic_it_is_the_gradient_at_the_image_up_to_the_mean_of_the_noise(self):
        """y = Σ x² / 2 has gradient x, so the map is |x + σ mean ε|: its spread is σ / √S."""

        class Quadratic(nn.Module):
            def forward(self, x):
                return (x**2 / 2).sum((1, 2, 3))[:, None]

        batch = torch.rand(1, 1, 40, 40)
        noise = SmoothGrad(100, 0.15, reduction="sum")(Quadratic(), batch, 1) - batch[:, 0]
        sigma = 0.15 * float(batch.max() - batch.min())
        assert float(noise.std()) == pytest.approx(sigma / 10, rel=0.1)
        assert abs(float(noise.mean())) < 4 * sigma / 10 / 40

    @pytest.mark.parametrize("settings", [{"num_samples": 0}, {"noise_level": -0.1}])
    def test_settings(self, settings):
        with pytest.raises(ValueError, match=f"Expected `{next(iter(settings))}` to be >= "):
            SmoothGrad(**settings)


class TestIntegratedGradients:
    def test_is_the_quadrature_of_the_gradient(self):
        net, batch = smooth_net().double(), images().double()
        x = 0.5 + 0.5 * torch.tensor([-math.sqrt(3 / 5), 0.0, math.sqrt(3 / 5)])  # Gauss-Legendre with three points
        weights = [5 / 18, 8 / 18, 5 / 18]
        total = sum(w * gradient(net, 0.3 + a * (batch - 0.3), TARGET) for a, w in zip(x, weights, strict=True))
        expected = ((batch - 0.3) * total).sum(1)
        assert_close(IntegratedGradients(3, 0.3)(net, batch, TARGET), expected)

    @pytest.mark.parametrize("baseline", [0.0, -0.7])
    def test_is_complete(self, baseline):
        net, batch = smooth_net(), images()
        explainer = IntegratedGradients(baseline=baseline)
        expected = change(net, batch, TARGET, baseline)
        assert_close(explainer(net, batch, TARGET).sum((1, 2)), expected, 1e-4)
        assert float(completeness(net, batch, explainer, TARGET, baseline=baseline).max()) < 1e-3
        coarse = IntegratedGradients(2, baseline)(net, batch, TARGET).sum((1, 2))
        assert float((coarse - expected).abs().max()) > 1e-2 * float(expected.abs().max())

    @pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 64])
    def test_no_forward_sees_more_than_a_chunk(self, chunk_size):
        net, batch, seen = Modules(), images(), []
        net.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
        found = IntegratedGradients(10)(Classifier(net, chunk_size=chunk_size), batch, TARGET)
        assert sum(seen) == 30
        assert max(seen) <= chunk_size
        assert_close(found, IntegratedGradients(10)(net, batch, TARGET))

    def test_settings(self):
        with pytest.raises(ValueError, match="Expected `num_steps` to be >= 1, but got 0"):
            IntegratedGradients(0)
        with pytest.raises(
            ValueError, match=r"Expected `baseline` to be one of .*, but got 'blurr'\. Did you mean 'blur'"
        ):
            IntegratedGradients(baseline="blurr")
        with pytest.raises(ValueError, match=r"Expected `baseline` to be a finite number, .*, but got nan"):
            DeepLift(baseline=math.nan)


class TestExpectedGradients:
    def test_one_reference_is_integrated_gradients_in_expectation(self):
        net, batch = smooth_net(), images()
        black = torch.zeros(1, 3, 8, 8)
        found = ExpectedGradients(black, 400)(net, batch, TARGET)
        expected = IntegratedGradients()(net, batch, TARGET)
        assert float((found - expected).abs().max()) < 0.1 * float(expected.abs().max())

    def test_sums_to_the_change_from_the_mean_of_the_references_in_expectation(self):
        """The error is that of a mean of S samples: 16 times as many make it 4 times as small."""
        net, batch, references = smooth_net(), images(), images(5)
        logits = net(batch).gather(1, TARGET[:, None])[:, 0]
        expected = (logits - net(references).mean(0)[TARGET]).detach()
        errors = {}
        classifier = Classifier(net, chunk_size=768)
        for count in (16, 256):
            drawn = [ExpectedGradients(references, count, seed) for seed in range(12)]
            sums = [explainer(classifier, batch, TARGET).sum((1, 2)) for explainer in drawn]
            errors[count] = float((torch.stack(sums) - expected).square().mean().sqrt())
        assert errors[256] < 0.15 * float(expected.abs().max())
        assert errors[16] / errors[256] == pytest.approx(4.0, rel=0.5)
        mean = torch.stack(sums).mean(0)
        torch.testing.assert_close(mean, expected, rtol=0, atol=4 * errors[256] / math.sqrt(12))

    def test_of_a_linear_network_it_is_exact_given_the_references_drawn(self):
        net, batch = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), images()
        reference = images(1)
        expected = ((batch - reference) * net[1].weight[TARGET].view(3, 3, 8, 8)).sum(1)
        assert_close(ExpectedGradients(reference, 3)(net, batch, TARGET), expected)

    def test_it_draws_every_reference_and_the_whole_path(self):
        seen = []

        class Recording(nn.Module):
            def forward(self, x):
                seen.append(x.detach().clone())
                return x.flatten(1)

        references = torch.stack([torch.full((1, 1, 1), float(10 * i)) for i in range(1, 5)])
        ExpectedGradients(references, 200)(Classifier(Recording(), chunk_size=50), torch.zeros(1, 1, 1, 1), 0)
        share = torch.cat(seen).flatten()  # of the reference's value: 1 − α
        assert len(share) == 200
        drawn = [(share > 10 * i).float().mean().item() for i in range(4)]
        assert drawn == pytest.approx([1.0, 0.52, 0.27, 0.11], abs=0.1)  # P(α' r > t) for r of 10, 20, 30, 40

    def test_settings(self):
        with pytest.raises(ValueError, match="Expected `num_samples` to be >= 1, but got 0"):
            ExpectedGradients(num_samples=0)
        with pytest.raises(ValueError, match=r"ExpectedGradients\(references=images\)"):
            ExpectedGradients()(Modules(), images(), TARGET)


class TestDeepLift:
    def test_by_hand(self):
        """z = 2a − b + 1, y = max(0, z), baseline 0: slope Δy / Δz."""
        net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU())
        net[1].weight.data, net[1].bias.data = torch.tensor([[2.0, -1.0]]), torch.tensor([1.0])
        batch = torch.tensor([[[[1.0, 1.0]]], [[[-2.0, 1.0]]], [[[0.0, 0.0]]]])
        found = DeepLift()(net, batch, 1)
        assert_close(found, torch.tensor([[[2.0, -1.0]], [[-0.8, -0.2]], [[0.0, 0.0]]]))  # second: Δz = −5, Δy = −1

    def test_max_pooling_by_hand(self):
        """From (1, 2) to (4, 0): the maximum rises by 2 at the left; to (0, 1): it falls by 1 at the right."""
        net = nn.Sequential(nn.Linear(2, 2), nn.MaxPool2d((1, 2)), nn.Flatten(), nn.Linear(1, 1, bias=False))
        net[0].weight.data, net[0].bias.data = torch.eye(2), torch.tensor([1.0, 2.0])
        _ = nn.init.ones_(net[3].weight)
        found = DeepLift()(net, torch.tensor([[[[3.0, -2.0]]], [[[-1.0, -1.0]]]]), 1)
        assert_close(found, torch.tensor([[[2.0, 0.0]], [[0.0, -1.0]]]))

    @pytest.mark.parametrize("baseline", [0.0, 0.4])
    @pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.ReLU6, nn.PReLU])
    def test_is_complete(self, act, baseline):
        net, batch = Residual(act), images()
        explainer = DeepLift(baseline)
        sums = explainer(net, batch, TARGET).sum((1, 2))
        torch.testing.assert_close(sums, change(net, batch, TARGET, baseline), rtol=1e-4, atol=1e-5)
        assert float(completeness(net, batch, explainer, TARGET, baseline=baseline).max()) < 1e-3

    def test_where_nothing_changes_the_derivative_is_taken(self):
        """The changes are below the rounding of what they are added to, so their quotients would be noise."""
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Tanh(), nn.Linear(6, 3))
        almost = torch.full((1, 3, 8, 8), 1e-9)
        expected = (almost * gradient(net, torch.zeros_like(almost), torch.tensor([1]))).sum(1)
        assert_close(DeepLift()(net, almost, 1), expected)

    @pytest.mark.parametrize(
        ("act", "operation"),
        [(nn.Softmax(1), "`softmax` in `0`"), (nn.LayerNorm(8), "`layer_norm` in `0`"), (nn.GLU(), "`glu` in `0`")],
        ids=["softmax", "layer_norm", "glu"],
    )
    def test_operations_without_a_rule_are_named(self, act, operation):
        net = nn.Sequential(act, nn.Flatten(), nn.LazyLinear(3))
        net(images())
        with pytest.raises(
            ValueError, match=f"Expected a network of linear layers, .* but {operation} is none of these"
        ):
            DeepLift()(net, images(), 1)

    def test_products_of_activations_are_named_and_products_with_constants_are_linear(self):
        class Scaled(nn.Module):
            def __init__(self, gate):
                super().__init__()
                self.net, self.gate = Modules(), gate

            def forward(self, x):
                return self.net(x * (x.mean((2, 3), keepdim=True).sigmoid() if self.gate else 0.5))

        with pytest.raises(ValueError, match="but `mul` is none of these"):
            DeepLift()(Scaled(gate=True), images(), 1)
        net, batch = Scaled(gate=False), images()
        assert_close(DeepLift()(net, batch, 1), DeepLift()(net.net, 0.5 * batch, 1))

    def test_what_hides_from_the_rules_is_found_by_the_sum(self):
        class Hidden(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x**3

            @staticmethod
            def backward(ctx, grad):
                return grad

        class Net(nn.Module):
            def forward(self, x):
                return Hidden.apply(x.flatten(1).sum(1, keepdim=True))

        with pytest.raises(
            ValueError, match=r"Expected DeepLIFT's map to sum to the change of the score, .*custom autograd"
        ):
            DeepLift()(Net(), torch.ones(2, 1, 2, 2), 1)

    @pytest.mark.parametrize("offset", [100.0, -100.0])
    def test_the_sum_is_compared_with_the_change_and_not_with_large_logits(self, offset):
        """The change is 1, half of it is lost: far more than the rounding of logits of 100."""

        class Halved(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, grad):
                return 0.5 * grad

        class Net(nn.Module):
            def forward(self, x):
                return Halved.apply(x.flatten(1).sum(1, keepdim=True)) + offset

        with pytest.raises(ValueError, match=r"sum to the change of the score, 1, but got 0\.5"):
            DeepLift()(Net(), torch.full((1, 1, 2, 2), 0.25), 1)

    @pytest.mark.parametrize(("function", "found"), [(torch.log, "-inf"), (lambda x: x.sub(1.0).sqrt(), "nan")])
    def test_a_baseline_whose_score_is_not_finite_is_refused(self, function, found):
        class Net(nn.Module):
            def forward(self, x):
                return function(x.flatten(1)).sum(1, keepdim=True)

        batch = torch.tensor([[[[2.0, 5.0]]]])
        with pytest.raises(ValueError, match=f"got {found}: the score of the baseline is not finite; choose another"):
            DeepLift()(Net(), batch, 1)
        with pytest.raises(ValueError, match="got nan: the score of the image is not finite"):
            DeepLift(2.0)(Net(), torch.full_like(batch, -1.0), 1)
        assert_close(DeepLift(2.0)(Net(), batch, 1), function(batch[0]) - function(torch.full_like(batch[0], 2.0)))

    def test_a_path_that_depends_on_the_image_is_refused(self):
        class Branching(nn.Module):
            def forward(self, x):
                x = x.flatten(1)
                return x.tanh() if float(x.detach().abs().sum()) > 0 else x

        with pytest.raises(ValueError, match=r"Expected the network to take one path .* but `tanh` differs"):
            DeepLift()(Branching(), images(), 1)


def test_only_what_sums_channels_promises_completeness():
    assert IntegratedGradients().completeness
    assert DeepLift().completeness
    for explainer in (
        IntegratedGradients(reduction="abs_max"),
        DeepLift(reduction="max"),
        ExpectedGradients(),
        Saliency(),
    ):
        assert not explainer.completeness
    with pytest.raises(ValueError, match="Expected `explainer` to promise completeness"):
        completeness(Modules(), images(), DeepLift(reduction="abs_max"), TARGET)


def test_completeness_asks_from_the_baseline_that_the_explainer_uses():
    with pytest.raises(
        ValueError, match=r"Expected `baseline` to be 0\.5, from which DeepLift attributes, but got 0\.0"
    ):
        completeness(Modules(), images(), DeepLift(0.5), TARGET)


@pytest.mark.parametrize("alias", list_explainers("gradient"))
def test_in_place_layers_do_not_change_the_map(alias):
    torch.manual_seed(1)
    net = calibrated(ConvNet(), size=16)
    batch = torch.randn(3, 3, 16, 12)
    expected = made(alias)(net, batch, TARGET)
    with images_through(net) as count:
        made(alias)(net, batch, TARGET)
    assert count[0] > 0
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            assert module.inplace
            module.inplace = False
    assert_close(made(alias)(net, batch, TARGET), expected)


def test_relu6_is_guided_and_hardtanh_is_not():
    net, batch = Modules(act=nn.ReLU6), images()
    relu = Modules()
    relu.load_state_dict(net.state_dict())
    assert_close(GuidedBackprop()(net, batch, TARGET), GuidedBackprop()(relu, batch, TARGET))
    with pytest.raises(ValueError, match="rectifies by ReLU for guided backpropagation, but Modules has none"):
        GuidedBackprop()(Modules(act=nn.Hardtanh), batch, TARGET)
