"""Equal by value to captum on networks on which captum is right; and where it is not, what it does there."""

import itertools
import warnings

import captum.attr
import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from lightning_xai import (
    LRP,
    CaptumExplainer,
    Classifier,
    DeepLift,
    GradCAM,
    GuidedBackprop,
    GuidedGradCAM,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from tests._nets import calibrated
from tests.explainers.gradient._nets import Apart, Functions, Modules, Residual, Reused, same

pytestmark = pytest.mark.filterwarnings("ignore:Setting .*hooks", "ignore:Input Tensor")


def images(side=8, count=4):
    return torch.randn(count, 3, side, side)


TARGET = torch.tensor([0, 2, 1, 1])


def close(found, expected, tolerance=1e-5):
    expected = expected.detach().float()
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def captums(name, net, batch, target, **arguments):
    return getattr(captum.attr, name)(net).attribute(batch.clone(), target=target, **arguments).detach()


def vgg():
    net = torchvision.models.vgg11_bn(num_classes=6)
    for index, module in enumerate(net.features):
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, nn.MaxPool2d):
            net.features[index] = nn.Sequential(Apart(), module)
    net.classifier = nn.Linear(512 * 7 * 7, 6)
    return calibrated(net, size=32)


@pytest.mark.parametrize(
    ("explainer", "name", "arguments"),
    [
        (Saliency(reduction="sum"), "Saliency", {"abs": False}),
        (InputXGradient(), "InputXGradient", {}),
        (IntegratedGradients(7), "IntegratedGradients", {"n_steps": 7}),
        (IntegratedGradients(), "IntegratedGradients", {}),
        (IntegratedGradients(9, baseline=0.5), "IntegratedGradients", {"n_steps": 9, "baselines": 0.5}),
        (GuidedBackprop(reduction="sum"), "GuidedBackprop", {}),
        (DeepLift(), "DeepLift", {}),
        (DeepLift(baseline=-0.5), "DeepLift", {"baselines": -0.5}),
    ],
    ids=lambda value: repr(value) if hasattr(value, "settings") else None,
)
def test_equal_to_captum(explainer, name, arguments):
    net, batch = Modules(), images()
    expected = captums(name, net, batch, TARGET, **arguments).sum(1)
    close(explainer(net, batch, TARGET), expected, 2e-4 if name == "DeepLift" else 1e-5)


@pytest.mark.parametrize(
    ("explainer", "name"), [(GuidedBackprop(reduction="sum"), "GuidedBackprop"), (DeepLift(), "DeepLift")]
)
def test_equal_to_captum_on_vgg(explainer, name):
    net, batch = vgg(), images(32)
    close(explainer(net, batch, TARGET), captums(name, net, batch, TARGET).sum(1), 1e-3)


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_guided_backprop_equals_captum_on_relus_in_place_and_used_twice(name):
    net, batch = calibrated(getattr(torchvision.models, name)(num_classes=6), size=64), images(64)
    close(GuidedBackprop(reduction="sum")(net, batch, TARGET), captums("GuidedBackprop", net, batch, TARGET).sum(1))


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("epsilon", [1e-9, 0.1, 3.0])
def test_lrp_equals_captum_on_chains_of_its_modules(act, epsilon):
    net, batch = Modules(act=act).double(), images().double()
    for layer in (net.conv1, net.bn, net.pool, net.conv2, net.fc1, net.fc2):
        layer.rule = captum.attr._utils.lrp_rules.EpsilonRule(epsilon)
    expected = captums("LRP", net, batch, TARGET).sum(1)
    close(LRP(epsilon, "epsilon")(net, batch, TARGET), expected)
    same = close_to(LRP(epsilon)(net, batch, TARGET), expected)
    assert same is (epsilon == 1e-9)  # captum damps max pooling by ε, where nothing cancels


def close_to(found, expected):
    try:
        close(found, expected)
    except AssertionError:
        return False
    return True


def relevance_by_loops(image, weight, bias, head, epsilon):
    """Return the relevance of each pixel in a 1 × 1 convolution, 2 × 2 max pooling and a linear layer, in float64."""
    after = weight * image + bias
    pooled, winners = [], []
    for row, column in itertools.product(range(0, image.shape[0], 2), range(0, image.shape[1], 2)):
        places = [(row + i, column + j) for i in (0, 1) for j in (0, 1)]
        winners.append(max(places, key=lambda place: after[place]))
        pooled.append(after[winners[-1]])
    z = sum(w * p for w, p in zip(head, pooled, strict=True))
    relevance = np.zeros_like(image)
    for place, w, p in zip(winners, head, pooled, strict=True):
        received = w * p / (z + epsilon * (1 if z >= 0 else -1)) * z  # of the linear layer
        out = after[place]  # the winner takes all of it
        relevance[place] += weight * image[place] / (out + epsilon * (1 if out >= 0 else -1)) * received
    return relevance


@pytest.mark.parametrize("epsilon", [1e-9, 0.3, 1.0])
def test_the_winner_takes_all_of_what_max_pooling_received(epsilon):
    generator = np.random.RandomState(3)
    image, head = generator.standard_normal((4, 6)), generator.standard_normal(6)
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6, 1, bias=False)).double()
    net[0].weight.data.fill_(1.5)
    net[0].bias.data.fill_(0.25)
    net[3].weight.data = torch.from_numpy(head)[None]
    found = LRP(epsilon)(net, torch.from_numpy(image)[None, None], target=1)[0]
    expected = relevance_by_loops(image, 1.5, 0.25, head, epsilon)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_a_maximum_of_one_keeps_its_relevance_whatever_epsilon_is():
    net = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())  # one logit: the maximum, no layer that ε could damp
    image = torch.tensor([[[[1.0, 0.5], [0.25, -3.0]]]])
    assert LRP(1.0)(net, image, target=1).flatten().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert LRP(1.0, "epsilon")(net, image, target=1).flatten().tolist() == [0.5, 0.0, 0.0, 0.0]


def test_batch_normalisation_is_a_layer_of_its_own():
    # merged into the convolution, z = 2 · 3 · x + 1: one division by z + ε instead of two
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0), nn.Flatten()).eval()
    net[0].weight.data.fill_(3.0)
    net[1].weight.data.fill_(2.0)
    net[1].bias.data.fill_(1.0)
    found = LRP(1.0)(net, torch.ones(1, 1, 1, 1), target=1).item()
    assert found == pytest.approx(7 * (6 / (7 + 1)) * (3 / (3 + 1)))
    assert 7 * 6 / (7 + 1) == 5.25  # what the merged convolution gives


@pytest.mark.parametrize("max_pooling", ["max", None])
def test_the_rule_of_max_pooling_is_checked(max_pooling):
    with pytest.raises(ValueError, match="Expected `max_pooling` to be one of 'winner', 'epsilon', but got"):
        LRP(max_pooling=max_pooling)


def test_lrp_of_a_rectified_network_is_input_times_gradient_until_epsilon_is_felt():
    net, batch = Residual(), images()
    gradient = InputXGradient()(net, batch, TARGET)
    close(LRP()(net, batch, TARGET), gradient)
    assert float((LRP(0.5)(net, batch, TARGET) - gradient).abs().max()) > 0.1 * float(gradient.abs().max())


@pytest.mark.parametrize("kind", [Functions, Reused])
@pytest.mark.parametrize("explainer", [GuidedBackprop(), DeepLift(), LRP(0.1), GuidedGradCAM("pool")], ids=repr)
def test_how_a_network_is_written_does_not_matter(explainer, kind):
    net, batch = Modules(), images()
    expected = explainer(net, batch, TARGET)
    other = same(kind, net)
    torch.testing.assert_close(other(batch), net(batch))
    if isinstance(explainer, GuidedGradCAM) and kind is Functions:
        explainer = GuidedGradCAM(target_layer="conv1")
        expected = explainer(net, batch, TARGET)
    close(explainer(other, batch, TARGET), expected)


@pytest.mark.parametrize("name", ["DeepLift", "GuidedBackprop"])
def test_the_control_captum_is_silently_wrong_about_functions(name):
    net, batch = Modules(), images()
    right, wrong = captums(name, net, batch, TARGET), captums(name, same(Functions, net), batch, TARGET)
    assert float((right - wrong).abs().max()) > 0.05 * float(right.abs().max())


def test_the_control_captum_refuses_modules_that_are_used_twice():
    with pytest.raises(RuntimeError, match="used more than once"):
        captums("DeepLift", same(Reused, Modules()), images(), TARGET)


def test_the_control_captum_s_deep_lift_is_not_complete_where_windows_overlap():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(16, 3))
    batch = images()
    change = (net(batch) - net(torch.zeros_like(batch)))[range(4), TARGET].detach()
    found, captum_s = DeepLift()(net, batch, TARGET), captums("DeepLift", net, batch, TARGET)
    torch.testing.assert_close(found.sum((1, 2)), change, rtol=1e-4, atol=1e-5)
    assert float((captum_s.sum((1, 2, 3)) - change).abs().max()) > 0.02 * float(change.abs().max())


def test_the_control_captum_s_deep_lift_loses_the_rule_of_a_pooling_right_after_a_relu():
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)]
    net, apart = nn.Sequential(*layers), nn.Sequential(*layers[:2], Apart(), *layers[2:])
    batch = images()
    found = DeepLift()(net, batch, TARGET)
    close(found, captums("DeepLift", apart, batch, TARGET).sum(1), 1e-4)
    adjacent = captums("DeepLift", net, batch, TARGET).sum(1)
    assert float((adjacent - found).abs().max()) > 0.05 * float(found.abs().max())


def test_guided_grad_cam_is_bilinear_and_captum_s_is_nearest_by_default():
    net, batch = Modules(), images()
    method = captum.attr.GuidedGradCam(net, net.conv2)
    bilinear = method.attribute(batch, TARGET, interpolate_mode="bilinear").sum(1).detach()
    nearest = method.attribute(batch, TARGET).sum(1).detach()
    found = GuidedGradCAM("conv2")(net, batch, TARGET)
    close(found, bilinear)
    assert float((found - nearest).abs().max()) > 0.05 * float(found.abs().max())


def test_guided_grad_cam_is_the_product_of_its_parts():
    net, batch = calibrated(torchvision.models.resnet18(num_classes=6), size=48), images(48)
    explainer = GuidedGradCAM()
    parts = GradCAM()(net, batch, TARGET) * GuidedBackprop(reduction="sum")(net, batch, TARGET)
    close(explainer(net, batch, TARGET), parts)
    assert explainer.picked == ["the output of `layer4`"]


def test_guided_backprop_by_the_formula_on_a_residual_network():
    """R ← 1[x > 0] 1[R > 0] R at each ReLU, gradients elsewhere, written out by hand."""
    net, batch = Residual().double(), images().double()
    a1 = net.conv1(batch)
    p, where = F.max_pool2d(a1.relu(), 3, 2, 1, return_indices=True)
    a2 = net.conv2(p) + p
    weight = net.fc.weight[TARGET] / p[0, 0].numel()
    r_act, r_cat = weight[:, :4, None, None].expand_as(a2), weight[:, 4:, None, None].expand_as(p)
    r2 = torch.where((a2 > 0) & (r_act > 0), r_act, 0.0)
    r_p = r_cat + r2 + F.conv_transpose2d(r2, net.conv2.weight, padding=1)
    flat = torch.zeros_like(a1).flatten(2).scatter_add(2, where.flatten(2), r_p.flatten(2)).view_as(a1)
    r1 = torch.where((a1 > 0) & (flat > 0), flat, 0.0)
    expected = F.conv_transpose2d(r1, net.conv1.weight, padding=1).abs().amax(1)
    close(GuidedBackprop()(net, batch, TARGET), expected)


def test_images_go_through_once_per_step():
    for explainer, cost in [
        (IntegratedGradients(7), 7),
        (GuidedGradCAM("conv2"), 2),
        (LRP(), 1),
        (GuidedBackprop(), 1),
    ]:
        classifier = Classifier(Modules(), chunk_size=3)
        explainer(classifier, images(), TARGET)
        assert classifier.evaluations == 4 * cost
    classifier = Classifier(Modules(), chunk_size=3)
    DeepLift()(classifier, images(), TARGET)
    assert classifier.evaluations == 4 + 2  # the baseline once in each of two chunks


@pytest.mark.parametrize("name", ["DeepLift", "GuidedBackprop", "InputXGradient", "Saliency"])
def test_no_warning_of_captum_reaches_the_user(name):
    with pytest.warns(UserWarning, match="did not already require gradients"):
        getattr(captum.attr, name)(Modules()).attribute(images(), target=TARGET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CaptumExplainer(f"captum.attr.{name}")(Modules(), images(), TARGET)
