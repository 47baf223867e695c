"""The contract of every built-in explainer: a new one joins by being registered."""

import copy
import pickle
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lightning_xai import Classifier, Explainer, explainers, get_explainer, list_explainers
from lightning_xai._settings import setting_names
from tests._nets import ConvNet, ConvViT, TinyViT, differences, images_through, state_of
from tests.explainers._made import FEW, made, supplied

TARGET = torch.tensor([0, 1, 2, 3, 1])
HALF = 0.15  # what a plain gradient changes by where a value near 0 is rectified in half precision, and not in single
WITHOUT_A_RULE = {"deep_lift", "guided_backprop", "guided_grad_cam", "lrp"}  # for transformers, see `refuses`
EXPLAINERS = pytest.mark.parametrize("alias", list_explainers())
PROBABILITY = {"information_bottleneck", "kernel_shap", "lime", "occlusion", "rise"}
"""Explain the target's probability, which no scaling of the logits scales."""
FORWARD_FROM_LAYER = {"ablation_cam", "information_bottleneck"}
"""Call the model again to compute what follows the target layer; that nothing else runs is counted in their tests."""
SEVERAL_LAYERS = [
    alias
    for alias in list_explainers()
    if alias != "cam" and "target_layer" in (one := get_explainer(alias)).settings() and one.evaluations is not None
]
"""Take a list of layers, and tell what it costs; CAM's has to be the last."""


def images(channels=3, count=5):
    return torch.randn(count, channels, 16, 12, generator=torch.Generator().manual_seed(channels))


def network(alias, channels=3):
    """CAM needs global average pooling and one linear layer; explainers of transformers need attention."""
    torch.manual_seed(3)
    net = (ConvViT if alias in list_explainers("transformer") else ConvNet)(channels)
    for norm in (net.features[1], net.features[5]):
        nn.init.uniform_(norm.running_var, 0.1, 0.3)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(net.fc.weight)
    return net


def used(net):
    """As a user's network in the middle of training."""
    net.train()
    net.features[1].eval()
    net.features[0].requires_grad_(False)
    net(images(net.features[0].in_channels)).sum().backward()
    net.fc.register_forward_hook(lambda *_: None)
    return net


def assert_close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@EXPLAINERS
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_heatmaps(alias, channels):
    batch = images(channels)
    heatmaps = made(alias, channels)(network(alias, channels), batch, TARGET)
    assert heatmaps.shape == (5, 16, 12)
    assert heatmaps.dtype == torch.float32
    assert heatmaps.device == batch.device
    assert bool(heatmaps.isfinite().all())
    assert not heatmaps.requires_grad
    assert not heatmaps.is_inference()
    assert int((heatmaps.flatten(1).std(1) > 0).sum()) >= 3  # a rectified map may be zero everywhere


@EXPLAINERS
@pytest.mark.parametrize("target", [TARGET, 2], ids=["each", "one"])
def test_nothing_is_touched(alias, target):
    net, batch = used(network(alias)), images()
    kept, given = state_of(net), batch.clone()
    explainer = made(alias)
    for _ in range(2):
        explainer(net, batch, target)
        assert differences(kept, state_of(net)) == []
    assert torch.equal(batch, given)
    assert batch.grad is None


@EXPLAINERS
def test_nothing_is_touched_by_an_error_of_the_explainer(alias, monkeypatch):
    net, explainer = used(network(alias)), made(alias)
    kept, original = state_of(net), type(explainer).explain

    def failing(*arguments):
        original(*arguments)
        net.train()
        raise ArithmeticError

    monkeypatch.setattr(type(explainer), "explain", failing)
    with pytest.raises(ArithmeticError):
        explainer(net, images(), TARGET)
    assert differences(kept, state_of(net)) == []


@pytest.mark.parametrize("alias", [alias for alias in list_explainers() if get_explainer(alias).evaluations != 0])
def test_nothing_is_touched_by_an_error_of_the_model(alias):
    net, explainer = used(network(alias)), made(alias)
    explainer(net, images(), TARGET)

    def failing(*_):
        torch.rand(1)
        raise ArithmeticError

    net.fc.register_forward_pre_hook(failing)
    kept = state_of(net)
    with pytest.raises(ArithmeticError):
        explainer(net, images(), TARGET)
    assert differences(kept, state_of(net)) == []


@EXPLAINERS
@pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_in_any_mode(alias, outside):
    expected = made(alias)(network(alias), images(), TARGET)
    net = network(alias)
    with outside():
        heatmaps = made(alias)(net, images().clone(), TARGET.clone())
        assert torch.is_grad_enabled() is (outside is torch.enable_grad)
    assert torch.equal(heatmaps, expected)


@EXPLAINERS
def test_images_that_require_gradients_or_are_laid_out_differently(alias):
    expected = made(alias)(network(alias), images(), TARGET)
    leaf = images().requires_grad_()
    assert torch.equal(made(alias)(network(alias), leaf, TARGET), expected)
    assert leaf.grad is None
    last = images().to(memory_format=torch.channels_last)
    assert_close(made(alias)(network(alias), last, TARGET), expected)
    wide = torch.cat([images(), images()], 3)[..., :12]
    assert_close(made(alias)(network(alias), wide, TARGET), expected)


@EXPLAINERS
def test_frozen_networks(alias):
    expected = made(alias)(network(alias), images(), TARGET)
    assert torch.equal(made(alias)(network(alias).requires_grad_(False), images(), TARGET), expected)
    net = network(alias)
    net.features.requires_grad_(False)
    assert torch.equal(made(alias)(net, images(), TARGET), expected)
    assert not any(p.requires_grad for p in net.features.parameters())


@EXPLAINERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(alias, dtype):
    expected = made(alias)(network(alias), images(), TARGET)
    for batch in (images(), images().to(dtype)):
        heatmaps = made(alias)(network(alias).to(dtype), batch, TARGET)
        assert heatmaps.dtype == torch.float32
        if made(alias).evaluations != 0:  # the noise of an image belongs to its content, in its own precision
            assert_close(heatmaps, expected, HALF if dtype == torch.bfloat16 else 1e-5)


@EXPLAINERS
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4])
def test_an_image_s_heatmap_does_not_depend_on_its_batch(alias, chunk_size):
    net, explainer = network(alias), made(alias)
    expected = explainer(net, images(), TARGET)
    assert_close(explainer(Classifier(net, chunk_size=chunk_size), images(), TARGET), expected)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert_close(explainer(net, images()[order], TARGET[order]), expected[order])
    if chunk_size == 1:
        singles = [explainer(net, images()[i : i + 1], int(TARGET[i])) for i in range(5)]
        assert_close(torch.cat(singles), expected)


@EXPLAINERS
@pytest.mark.parametrize("chunk_size", [2, 5])
def test_evaluations_are_those_declared(alias, chunk_size):
    net, explainer = network(alias), made(alias)
    explainer(net, images(), TARGET)  # finds the target layer
    classifier = Classifier(net, chunk_size=chunk_size)
    with images_through(net) as count:
        explainer(classifier, images(), TARGET)
    assert count[0] == classifier.evaluations or alias in FORWARD_FROM_LAYER
    if explainer.evaluations is not None:
        assert count[0] == 5 * explainer.evaluations


@pytest.mark.parametrize("alias", SEVERAL_LAYERS)
def test_evaluations_of_several_layers_are_those_declared(alias):
    net = network(alias)
    explainer = get_explainer(alias, target_layer=["features.2", "features.6"], **FEW.get(alias, {}))
    with images_through(net) as count:
        explainer(Classifier(net, chunk_size=2), images(), TARGET)
    assert count[0] == 5 * explainer.evaluations > 5


@pytest.mark.parametrize("alias", sorted(set(list_explainers()) - {"integrated_gradients"}))  # whose steps are captum's
def test_another_default_device(alias):
    net, explainer, batch = network(alias), made(alias), images()
    expected = explainer(net, batch, TARGET)
    with torch.device("meta"):
        heatmaps = explainer(net, batch, TARGET)
    assert torch.equal(heatmaps, expected)


@EXPLAINERS
def test_class_discriminative_is_as_declared(alias):
    net, explainer = network(alias), made(alias)
    maps = torch.stack([explainer(net, images(), target) for target in range(4)])
    assert explainer.class_discriminative is not bool(torch.equal(maps[0], maps[1]))


@EXPLAINERS
def test_results_repeat_and_belong_to_the_network(alias):
    net, explainer = network(alias), made(alias)
    first = explainer(net, images(), TARGET)
    assert torch.equal(explainer(net, images(), TARGET), first)
    with torch.no_grad():
        net.fc.weight.mul_(2.0)
        net.fc.bias.mul_(2.0)
    again = explainer(net, images(), TARGET)
    if alias not in {
        "grad_cam_plus_plus",
        "ablation_cam",
        "score_cam",
        "smooth_grad_cam_plus_plus",
        "guided_grad_cam",
        "transformer_attribution",
        *PROBABILITY,
    }:  # which are not linear in the logit
        torch.testing.assert_close(again, 2 * first if explainer.class_discriminative else first)


@EXPLAINERS
def test_settings_round_trips(alias):
    bare, explainer = get_explainer(alias, **FEW.get(alias, {})), made(alias)
    expected = explainer(network(alias), images(), TARGET)
    copies = [
        type(explainer)(**{name: getattr(explainer, name) for name in setting_names(type(explainer))}),
        supplied(eval(repr(bare), {name: getattr(explainers, name) for name in dir(explainers)})),
        pickle.loads(pickle.dumps(explainer)),
        copy.deepcopy(explainer),
    ]
    for copied in copies:
        assert type(copied) is type(explainer)
        assert copied.settings() == explainer.settings()
        assert repr(copied) == repr(explainer)
        assert torch.equal(copied(network(alias), images(), TARGET), expected)
    assert all(repr(value) in repr(bare) for value in bare.settings().values())
    assert len(pickle.dumps(get_explainer(alias))) < 500  # no model, no images
    assert all(isinstance(value, (str, int, float, bool, type(None))) for value in explainer.settings().values())


@EXPLAINERS
def test_compiled_networks(alias):
    expected = made(alias)(network(alias), images(), TARGET)
    net = network(alias)
    net.compile(backend="eager")
    with torch.no_grad():
        net.eval()(images())
    assert torch.equal(made(alias)(net, images(), TARGET), expected)


@EXPLAINERS
@pytest.mark.parametrize("autocast", [False, True])
def test_inside_the_user_s_autocast(alias, autocast):
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        heatmaps = made(alias)(network(alias), images(), TARGET)
    assert heatmaps.dtype == torch.float32
    assert_close(heatmaps, made(alias)(network(alias), images(), TARGET), HALF)


@pytest.mark.parametrize("alias", sorted(set(list_explainers()) - {"cam"} - WITHOUT_A_RULE))
def test_transformers(alias, recwarn):
    batch = torch.randn(2, 3, 16, 16)
    heatmaps = made(alias, size=(16, 16))(TinyViT(), batch, torch.tensor([0, 3]))
    assert heatmaps.shape == (2, 16, 16)
    assert bool(heatmaps.isfinite().all())


@pytest.mark.parametrize("alias", sorted(WITHOUT_A_RULE))
def test_transformers_for_which_a_method_is_not_defined(alias):
    net, batch = TinyViT(), torch.randn(2, 3, 16, 16)
    kept = state_of(net)
    assert get_explainer(alias).refuses.endswith("transformers)")
    message = r"Expected a network .* (`layer_norm` in `blocks\.0\.norm`|TinyViT has none).*Use "
    with pytest.raises(ValueError, match=message):
        made(alias, size=(16, 16))(net, batch, torch.tensor([0, 3]))
    assert differences(kept, state_of(net)) == []


@EXPLAINERS
@pytest.mark.cuda
def test_cuda(alias):
    expected = made(alias)(network(alias), images(), TARGET)
    heatmaps = made(alias)(network(alias).cuda(), images().cuda(), TARGET.cuda())
    assert heatmaps.device.type == "cuda"
    assert_close(heatmaps.cpu(), expected, 1e-3)


def test_the_list_holds_every_explainer_of_the_package():
    def below(cls):
        return {cls} | {deeper for child in cls.__subclasses__() for deeper in below(child)}

    for alias in list_explainers():
        get_explainer(alias)
    concrete = {c for c in below(Explainer) if c.__module__.startswith("lightning_xai.") and not c.__abstractmethods__}
    assert {cls.alias for cls in concrete} == {*list_explainers(), "normalized"}  # which needs an explainer


@EXPLAINERS
def test_the_network_of_this_contract_has_operations_in_place(alias):
    assert any(getattr(m, "inplace", False) for m in network(alias).modules())
