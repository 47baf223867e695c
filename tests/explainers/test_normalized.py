"""Post-processing as a part of the method: by hand, by scipy, and what is passed on from the other explainer."""

import copy
import pickle

import jsonargparse
import pytest
import torch
from scipy.stats import rankdata
from torch import nn

from lightning_xai import Classifier, Explainer, GradCAM, Normalized, get_explainer
from lightning_xai.explainers.normalized import normalized
from tests._nets import ConvNet, differences, images_through, state_of
from tests.explainers._made import FEW, references

HOW = ("minmax", "max_abs", "signed_minmax", "rank")
IMAGES = torch.randn(5, 3, 16, 12, generator=torch.Generator().manual_seed(3))
TARGET = torch.tensor([0, 1, 2, 3, 1])


def network():
    torch.manual_seed(3)
    return ConvNet()


def maps(count=4):
    return torch.randn(count, 5, 7, generator=torch.Generator().manual_seed(1)).round(decimals=1)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("minmax", [0.0, 0.2, 0.2, 1.0]),
        ("max_abs", [-0.25, 0.0, 0.0, 1.0]),
        ("signed_minmax", [-1.0, -0.6, -0.6, 1.0]),
        ("rank", [0.0, 0.5, 0.5, 1.0]),
    ],
)
def test_by_hand(how, expected):
    heatmaps = torch.tensor([[[-1.0, 0.0], [0.0, 4.0]]])
    torch.testing.assert_close(normalized(heatmaps, how).flatten(), torch.tensor(expected))


def test_ranks_are_scipy_s_average_ranks():
    expected = torch.tensor((rankdata(maps().flatten(1).numpy(), axis=1) - 1) / 34).float()
    assert len(maps()[0].unique()) < 35  # there are equal values
    torch.testing.assert_close(normalized(maps(), "rank").flatten(1), expected)


@pytest.mark.parametrize("how", HOW)
def test_each_map_is_scaled_by_itself_and_keeps_its_order(how):
    whole = normalized(maps(), how)
    assert torch.equal(torch.cat([normalized(one[None], how) for one in maps()]), whole)
    assert torch.equal(whole.flatten(1).argsort(dim=1, stable=True), maps().flatten(1).argsort(dim=1, stable=True))
    assert float(whole.max()) <= 1.0
    assert float(whole.min()) >= (0.0 if how in ("minmax", "rank") else -1.0)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_unit_of_the_map_does_not_matter(how, scale):
    torch.testing.assert_close(normalized(scale * maps(), how), normalized(maps(), how))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_constant_maps(how, value):
    expected = torch.tensor(value).sign() if how == "max_abs" else torch.tensor(0.0)
    assert torch.equal(normalized(torch.full((2, 3, 4), value), how), expected.expand(2, 3, 4))
    assert torch.equal(normalized(torch.full((2, 1, 1), value), how), expected.expand(2, 1, 1))


@pytest.mark.parametrize("how", HOW)
def test_it_is_the_normalised_heatmap_of_the_explainer_in_any_batch_and_without_a_trace(how):
    net = network().train()
    kept = state_of(net)
    expected = normalized(GradCAM(relu=False)(net, IMAGES, TARGET), how)
    explainer = Normalized(GradCAM(relu=False), how)
    assert torch.equal(explainer(net, IMAGES, TARGET), expected)
    torch.testing.assert_close(explainer(Classifier(net, chunk_size=2), IMAGES, TARGET), expected)
    singles = [explainer(net, IMAGES[i : i + 1], int(TARGET[i])) for i in range(5)]
    torch.testing.assert_close(torch.cat(singles), expected)
    assert differences(kept, state_of(net)) == []


@pytest.mark.parametrize("alias", ["smooth_grad", "attention_rollout", "cam", "eigen_cam", "deep_lift"])
def test_what_is_passed_on(alias):
    inner = get_explainer(alias, **FEW.get(alias, {}))
    explainer = Normalized(inner)
    for name in ("evaluations", "class_discriminative", "refuses", "family", "needs_references"):
        assert getattr(explainer, name) == getattr(inner, name)
    assert explainer.target_layer == getattr(inner, "target_layer", None)
    assert not explainer.completeness
    assert explainer.alias == f"{alias}_minmax"
    assert Normalized(explainer, "rank").alias == f"{alias}_minmax_rank"
    assert Normalized.alias == "normalized"


def test_costs_and_layers_are_those_of_the_explainer():
    net, explainer = network(), Normalized(get_explainer("integrated_grad_cam", num_steps=3))
    explainer(net, IMAGES, TARGET)
    assert explainer.picked == ["the output of `features`"]
    with images_through(net) as count:
        explainer(Classifier(net, chunk_size=2), IMAGES, TARGET)
    assert count[0] == 5 * explainer.evaluations == 5 * 4


def test_references_reach_the_explainer():
    bare = Normalized(Normalized(get_explainer("expected_gradients", num_samples=3), "minmax"), "rank")
    assert bare.needs_references
    explainer = bare.with_references(references())
    assert not explainer.needs_references
    assert bare.needs_references
    inner = get_explainer("expected_gradients", num_samples=3, references=references())
    expected = normalized(normalized(inner(network(), IMAGES, TARGET), "minmax"), "rank")
    assert torch.equal(explainer(network(), IMAGES, TARGET), expected)


def test_copies_and_settings():
    explainer = Normalized(GradCAM("features", relu=False), "max_abs")
    assert repr(explainer) == "Normalized(explainer=GradCAM(target_layer='features', relu=False), how='max_abs')"
    assert explainer.settings() == {"explainer": repr(explainer.explainer), "how": "max_abs"}
    expected = explainer(network(), IMAGES, TARGET)
    for copied in (pickle.loads(pickle.dumps(explainer)), copy.deepcopy(explainer)):
        assert repr(copied) == repr(explainer)
        assert copied.alias == "grad_cam_max_abs"
        assert torch.equal(copied(network(), IMAGES, TARGET), expected)


def test_in_yaml(tmp_path):
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--explainer", type=Explainer)
    config = tmp_path / "explainer.yaml"
    config.write_text(
        "explainer:\n"
        "  class_path: lightning_xai.Normalized\n"
        "  init_args:\n"
        "    how: rank\n"
        "    explainer:\n"
        "      class_path: lightning_xai.GradCAM\n"
        "      init_args:\n"
        "        relu: false\n"
    )
    made = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name before version 4.49
    explainer = made(parser.parse_args(["--config", str(config)])).explainer
    assert repr(explainer) == repr(Normalized(GradCAM(relu=False), "rank"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("grad_cam",), TypeError, "Expected `explainer` to be an Explainer, but got str"),
        ((nn.Flatten(),), TypeError, "Expected `explainer` to be an Explainer, but got Flatten"),
        ((GradCAM(), "max"), ValueError, "Expected `how` to be one of 'minmax', 'max_abs', 'signed_minmax', 'rank'"),
    ],
)
def test_arguments_that_do_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        Normalized(*arguments)
