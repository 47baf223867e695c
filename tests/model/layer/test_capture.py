from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lightning_xai import Classifier, GradCAM, Readout
from lightning_xai.model.layer.capture import capture
from lightning_xai.model.layer.points import LayerOutput, OperationInput
from lightning_xai.model.layer.search import capture_points
from tests._nets import ConvNet, FlattenNet, calibrated, images_through

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TARGET = torch.tensor([1, 2])
REACHED = "Expected the class score to depend on .* differentiably, but no gradient reaches it"


def captured(model, layer="auto", images=IMAGES, target=TARGET, **settings):
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    (point,) = capture_points(classifier, layer, images)
    return capture(classifier, images, target, point, **settings)


def naive(model, layer, images=IMAGES, target=TARGET):
    """Activations and gradients by the book: nothing in place, the full graph."""
    model = deepcopy(model).eval().requires_grad_()
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    kept = []
    model.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]) or args[2].clone())  # `x += y`
    logits = model(images)
    (gradients,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept[-1])
    return kept[-1].detach(), gradients, logits.detach()


def assert_equal(found, expected, exact=True):
    for first, second in zip((found.activations, found.gradients, found.logits), expected, strict=True):
        torch.testing.assert_close(first, second, **({"rtol": 0, "atol": 0} if exact else {}))


@pytest.mark.parametrize("layer", ["features.0", "features.1", "features.2", "features.4", "features.5", "features"])
def test_equals_the_full_graph_though_operations_are_in_place(layer):
    net = calibrated(ConvNet(), size=8)
    assert_equal(captured(net, layer), naive(net, layer))


@pytest.mark.parametrize("layer", ["layer3", "layer4", "layer4.1.bn2", "layer1.0.conv1", "maxpool"])
def test_equals_the_full_graph_on_resnet18(layer):
    net = calibrated(torchvision.models.resnet18(num_classes=5), size=64)
    images = torch.randn(2, 3, 64, 64)
    assert_equal(captured(net, layer, images), naive(net, layer, images))


def test_without_gradients():
    net = calibrated(ConvNet(), size=8)
    found = captured(net, "features.1", gradients=False)
    activations, _, logits = naive(net, "features.1")
    assert found.gradients is None
    assert torch.equal(found.activations, activations)
    assert torch.equal(found.logits, logits)


def test_results_are_detached_float32_and_not_inference_tensors():
    net = ConvNet().bfloat16()
    with torch.inference_mode():
        images = IMAGES.clone()
        found = captured(Classifier(net), "features", images.clone(), gradients=False)
    both = captured(net)
    for tensor in (found.activations, found.logits, both.activations, both.gradients, both.logits):
        assert tensor.dtype == torch.float32
        assert not tensor.requires_grad
        assert not tensor.is_inference()


def test_no_graph_is_built_below_the_layer_and_one_pass_is_made():
    net = ConvNet()
    saved = []
    with (
        images_through(net) as count,
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(tuple(t.shape)) or t, lambda t: t),
    ):
        captured(net, "features")
    assert count[0] == 2
    assert not any(len(size) == 4 and size[1] < 12 for size in saved)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(tuple(t.shape)) or t, lambda t: t):
        net(IMAGES)
    assert any(len(size) == 4 and size[1] < 12 for size in saved)  # control


class Split(nn.Module):
    """A backbone and a head, joined in some way."""

    def __init__(self, join):
        super().__init__()
        net = ConvNet()
        self.backbone, self.head = net.features, nn.Sequential(net.pool, net.flatten, net.fc)
        self.join = join

    def forward(self, x):
        return self.join(self.backbone, self.head, x)


def under_no_grad(backbone, head, x):
    with torch.no_grad():
        x = backbone(x)
    return head(x)


def plain(backbone, head, x):
    return head(backbone(x))


class TestBackbones:
    @pytest.mark.parametrize("layer", ["backbone.4", "backbone"])
    @pytest.mark.parametrize("join", [under_no_grad, lambda b, h, x: h(torch.no_grad()(b)(x))], ids=["with", "wrapped"])
    def test_under_the_users_no_grad(self, join, layer):
        model = Split(join).eval()
        oracle = deepcopy(model)
        oracle.join = plain
        assert_equal(captured(model, layer), naive(oracle, layer))

    @pytest.mark.parametrize("how", ["frozen", "all frozen"])
    def test_frozen(self, how):
        model = Split(plain).eval()
        expected = naive(model, "backbone.4")
        (model if how == "all frozen" else model.backbone).requires_grad_(False)
        assert_equal(captured(model, "backbone.4"), expected)
        assert not any(p.requires_grad for p in model.backbone.parameters())

    @pytest.mark.parametrize("layer", ["backbone", "backbone.1", "head.0"])
    def test_non_reentrant_checkpoints(self, layer):
        def join(backbone, head, x):
            return checkpoint(lambda y: checkpoint(head, y, use_reentrant=False), backbone(x), use_reentrant=False)

        def both(backbone, head, x):
            return head(checkpoint(backbone, x, use_reentrant=False))

        for joined in (join, both):
            model = Split(joined).eval()
            oracle = deepcopy(model)
            oracle.join = plain
            if layer != "head.0":
                assert_equal(captured(model, layer), naive(oracle, layer))

    @pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
    def test_reentrant_checkpoints_are_said(self):
        model = Split(lambda b, h, x: checkpoint(h, b(x), use_reentrant=True))
        with pytest.raises(RuntimeError, match=REACHED + ".*use_reentrant=False"):
            captured(model, "backbone")
        inside = Split(lambda b, h, x: h(checkpoint(b, x, use_reentrant=True)))
        with pytest.raises(RuntimeError, match=REACHED):
            captured(inside, "backbone.1")

    @pytest.mark.parametrize(
        "join",
        [
            lambda b, h, x: h(b(x).detach()),
            lambda b, h, x: torch.no_grad()(h)(b(x)),
            lambda b, h, x: h(torch.zeros_like(b(x))),
            lambda b, h, x: h(torch.inference_mode()(b)(x).clone()),
        ],
        ids=["detach", "no_grad after", "unused", "inference_mode"],
    )
    def test_a_layer_that_no_gradient_reaches_is_said(self, join):
        model = Split(join)
        with pytest.raises(RuntimeError, match=REACHED + r".*`\.detach\(\)`.*Name a later layer"):
            captured(model, "backbone.4")

    def test_another_error_of_the_backward_pass_is_the_users(self):
        class Broken(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, gradient):
                raise RuntimeError("out of paper")

        with pytest.raises(RuntimeError, match="out of paper"):
            captured(Split(lambda b, h, x: h(Broken.apply(b(x)))), "backbone")


class TestLayers:
    def test_called_several_times_the_last_one_counts_with_one_warning(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.Relu, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Linear(3, 4)

            def forward(self, x):
                return self.fc(self.Relu(self.conv(self.Relu(self.conv(x)))).mean((2, 3)))

        net = Twice()
        with pytest.warns(UserWarning, match="the output of `Relu` was there 2 times; the last one counts") as record:
            found = captured(net, "Relu")
        assert len(record) == 1
        assert_equal(found, naive(net, "Relu"))

    def test_that_does_not_run_is_said(self):
        net = ConvNet()
        net.unused = nn.Conv2d(3, 3, 1)
        net.forward = lambda x: net.fc(net.features(x).mean((2, 3)))
        with pytest.raises(RuntimeError, match=r"Expected the output of `unused` to be part of the model's forward"):
            captured(net, "unused")

    def test_a_tuple_s_first_tensor_counts(self):
        class Pair(nn.Module):
            def forward(self, x):
                return x * 2, "more"

        net = ConvNet()
        net.pair = Pair()
        net.forward = lambda x: net.fc(net.pair(net.features(x))[0].mean((2, 3)))
        found = captured(net, "pair")
        assert torch.equal(found.activations, 2 * captured(net, "features").activations)
        assert torch.equal(2 * found.gradients, captured(net, "features").gradients)

    def test_another_output_is_said(self):
        class Named(nn.Module):
            def forward(self, x):
                return {"maps": x}

        net = ConvNet()
        net.named = Named()
        net.forward = lambda x: net.fc(net.named(net.features(x))["maps"].mean((2, 3)))
        with pytest.raises(ValueError, match=r"Expected the output of `named` to be a Tensor or a tuple .* got dict"):
            captured(net, "named")

    def test_no_feature_maps_are_said(self):
        with pytest.raises(ValueError, match=r"but the output of `fc` holds \(2, 4\)"):
            captured(ConvNet(), "fc")

    def test_an_operation_s_input_is_that_of_its_last_call(self):
        class Means(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)

            def forward(self, x):
                x = x - torch.mean(input=x, dim=(2, 3), keepdim=True)
                x = F.relu(self.conv(x * x.mean()), inplace=True)
                return self.fc(torch.mean(input=x, dim=(2, 3)))

        net = Means()
        (point,) = capture_points(Classifier(net), "auto", IMAGES)
        assert point == OperationInput("mean", 3)
        found = captured(net)
        expected = net.fc.weight[TARGET, :, None, None].expand(-1, -1, 8, 8) / 64
        torch.testing.assert_close(found.gradients, expected.detach())
        assert float(found.activations.min()) == 0

    def test_a_changed_copy_reaches_neither_the_model_nor_the_user(self):
        net, images = FlattenNet(), IMAGES.clone()
        before = Classifier(net).logits(IMAGES)
        found = captured(net, "conv", images)
        assert torch.equal(found.logits, before)
        assert torch.equal(images, IMAGES)
        assert float(found.activations.min()) < 0  # before the ReLU

    @pytest.mark.parametrize("gradients", [True, False])
    def test_a_model_that_overwrites_its_input_reads_a_copy(self, gradients):
        net, images = nn.Sequential(nn.ReLU(inplace=True), *ConvNet()), IMAGES.clone()
        captured(net, "1", images, gradients=gradients)
        assert torch.equal(images, IMAGES)

    @pytest.mark.parametrize("gradients", [True, False])
    def test_a_target_out_of_range_is_said(self, gradients):
        with pytest.raises(ValueError, match=r"class in \[0, 3\], the model's 4 classes, but got 9"):
            captured(ConvNet(), target=torch.tensor([0, 9]), gradients=gradients)


def test_the_score_is_the_logit_of_each_task():
    net = ConvNet(classes=1)
    zero, one = (captured(net, target=torch.tensor([c, c])).gradients for c in (0, 1))
    assert torch.equal(zero, -one)
    net = ConvNet()
    multilabel = Classifier(net, Readout("multilabel"))
    assert torch.equal(captured(multilabel).gradients, captured(net).gradients)


@pytest.mark.parametrize("outside", [nullcontext, torch.no_grad, torch.inference_mode])
def test_in_any_mode(outside):
    net = calibrated(ConvNet(), size=8)
    with outside():
        assert_equal(captured(net, "features"), naive_outside(net))


def naive_outside(net):
    with torch.inference_mode(False), torch.enable_grad():
        return naive(net, "features", IMAGES.clone())


def test_hooks_are_taken_off_also_after_an_error():
    net = Split(lambda b, h, x: h(b(x).detach()))
    for layer in ("backbone", "backbone.1"):
        with pytest.raises(RuntimeError):
            captured(net, layer)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert LayerOutput("backbone") in capture_points(Classifier(net), "backbone", IMAGES)


class BesideInPlace(nn.Module):
    """Adds to a tensor that an identity has passed on, in place or not."""

    def __init__(self, *, in_place):
        super().__init__()
        self.conv, self.drop, self.branch = nn.Conv2d(3, 4, 3, padding=1), nn.Dropout(), nn.Conv2d(4, 4, 1)
        self.fc, self.in_place = nn.Linear(4, 3), in_place

    def forward(self, x):
        x = self.conv(x)
        y = self.branch(self.drop(x))
        if self.in_place:
            x += y
        else:
            x = x + y
        return self.fc(x.relu().mean((2, 3)))


def test_what_was_captured_does_not_change_when_the_model_goes_on_in_place():
    torch.manual_seed(0)
    first, second = BesideInPlace(in_place=True), BesideInPlace(in_place=False)
    second.load_state_dict(first.state_dict())
    images = torch.randn(2, 3, 8, 8)
    found, expected = (GradCAM("drop", relu=False)(net, images, 1) for net in (first, second))
    torch.testing.assert_close(found, expected)
    assert float(expected.abs().max()) > 0
