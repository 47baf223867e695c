"""Every explainer of a network that wants more than the image: batch = ``lambda x: model(x, its own)``, one by one."""

import warnings

import pytest
import torch
from torch import nn

from lightning_xai.explainers import get_explainer, list_explainers
from lightning_xai.explainers.gradient.captum_explainer import CaptumExplainer
from lightning_xai.explainers.normalized import Normalized
from lightning_xai.model import Classifier
from tests._nets import Closed, Fusion, TwoViews

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(3, 3, 12, 12, generator=GENERATOR)
TABLE = torch.randn(3, 2, generator=GENERATOR)
SIDE = torch.rand(3, 3, 12, 12, generator=GENERATOR)
TARGET = torch.tensor([0, 3, 1])
REFERENCES = torch.rand(3, 3, 12, 12, generator=GENERATOR)
QUICK = {
    "smooth_grad": {"num_samples": 3},
    "integrated_gradients": {"num_steps": 4},
    "expected_gradients": {"num_samples": 5},
    "rise": {"num_masks": 20},
    "lime": {"grid": 2},
    "kernel_shap": {"grid": 2},
    "expected_grad_cam": {"num_samples": 4},
    "smooth_grad_cam_plus_plus": {"num_samples": 3},
    "integrated_grad_cam": {"num_steps": 3},
    "information_bottleneck": {"num_steps": 2, "num_copies": 3},
    "captum_explainer": {"attribution": "captum.attr.Saliency"},
}
OF_OTHER_NETWORKS = {"cam", "attention_rollout", "transformer_attribution"}


def network(kind):
    torch.manual_seed(1)
    return kind().eval()


def made(alias, **settings):
    explainer = get_explainer(alias, **{**QUICK.get(alias, {}), **settings})
    return explainer.with_references(REFERENCES) if explainer.needs_references else explainer


def one_by_one(explainer, networks):
    single = [Classifier(net, chunk_size=2) for net in networks]
    return torch.cat([explainer(single[i], IMAGES[i : i + 1], TARGET[i : i + 1]) for i in range(len(IMAGES))])


def assert_same(found, expected):
    assert float(expected.abs().max()) > 0
    assert float((found - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


@pytest.mark.parametrize("alias", sorted(set(list_explainers()) - OF_OTHER_NETWORKS))
def test_a_batch_is_one_by_one(alias):
    net, explainer = network(Fusion), made(alias)
    found = explainer(Classifier(net, chunk_size=2).with_extra({"table": TABLE}), IMAGES, TARGET)
    expected = one_by_one(explainer, [Closed(net, TABLE[i : i + 1]) for i in range(3)])
    assert_same(found, expected)


@pytest.mark.parametrize("alias", sorted(OF_OTHER_NETWORKS))
def test_what_does_not_fit_the_network_says_so_as_without(alias):
    for model in (network(Fusion), Closed(network(Fusion), TABLE[:1])):
        extra = {"table": TABLE} if isinstance(model, Fusion) else None
        with pytest.raises(ValueError, match=r"Expected a (network that ends in|vision transformer)"):
            made(alias)(Classifier(model).with_extra(extra), IMAGES, TARGET)


class Front(nn.Module):
    """The first view's part of `TwoViews`; the other view is known and fixed."""

    def __init__(self, net, side):
        super().__init__()
        self.features, self.pool, self.fc = net.features, net.pool, net.fc
        self.side = net.seen(side).detach()

    def forward(self, front):
        seen = self.pool(self.features(front)).flatten(1)
        return self.fc(torch.cat([seen, self.side.expand(len(front), -1)], 1))


@pytest.mark.parametrize("layer", ["auto", "features", "features.2"])
@pytest.mark.parametrize(
    "alias", ["grad_cam", "ablation_cam", "score_cam", "eigen_cam", "expected_grad_cam", "information_bottleneck"]
)
def test_of_two_views_through_one_backbone_the_first_is_explained(alias, layer):
    net, explainer = network(TwoViews), made(alias, target_layer=layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "was there 2 times"
        found = explainer(Classifier(net, chunk_size=2).with_extra({"side": SIDE}), IMAGES, TARGET)
    assert explainer.picked == [f"the output of `{'features' if layer == 'auto' else layer}` (call 1)"]
    assert_same(found, one_by_one(explainer, [Front(net, SIDE[i : i + 1]) for i in range(3)]))


def test_the_view_that_is_not_the_first_argument_is_explained_where_it_is_the_image():
    net, explainer = network(TwoViews), made("grad_cam")
    found = explainer(Classifier(net).with_extra({"front": SIDE}), IMAGES, TARGET)
    assert explainer.picked == ["the output of `features` (call 2)"]

    class Swapped(TwoViews):
        def forward(self, side, front):
            return super().forward(front, side)

    swapped = network(Swapped)
    swapped.load_state_dict(net.state_dict())
    assert_same(found, explainer(Classifier(swapped).with_extra({"front": SIDE}), IMAGES, TARGET))


@pytest.mark.parametrize(
    ("attribution", "settings"),
    [
        ("IntegratedGradients", {"n_steps": 4}),
        ("IntegratedGradients", {"n_steps": 4, "internal_batch_size": 3}),
        ("FeatureAblation", {"perturbations_per_eval": 40}),
        ("Occlusion", {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4), "perturbations_per_eval": 2}),
        ("DeepLift", {}),
        ("Deconvolution", {}),
        ("LayerGradCam", {"layer": "features.3"}),
        ("InternalInfluence", {"layer": "features.3", "n_steps": 4}),
    ],
)
def test_captum_repeats_the_rows_with_the_images(attribution, settings):
    net = network(Fusion)
    closed = {**settings, **({"layer": "model.features.3"} if "layer" in settings else {})}
    found = CaptumExplainer(f"captum.attr.{attribution}", **settings)(
        Classifier(net, chunk_size=2).with_extra({"table": TABLE}), IMAGES, TARGET
    )
    networks = [Closed(net, TABLE[i : i + 1]) for i in range(3)]
    assert_same(found, one_by_one(CaptumExplainer(f"captum.attr.{attribution}", **closed), networks))


def test_captum_refuses_a_layer_that_both_views_share():
    explainer = CaptumExplainer("captum.attr.LayerGradCam", layer="features")
    with pytest.raises(ValueError, match="forward calls it for what comes beside the image, too"):
        explainer(Classifier(network(TwoViews)).with_extra({"side": SIDE}), IMAGES, TARGET)


def test_attention_over_something_else_than_the_image_is_refused():
    class ViewsOfTokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.block = nn.MultiheadAttention(8, 2, batch_first=True)
            self.fc = nn.Linear(8, 4)

        def seen(self, view):
            tokens = self.patches(view).flatten(2).transpose(1, 2)
            return tokens + self.block(tokens, tokens, tokens, need_weights=False)[0]

        def forward(self, front, side):
            return self.fc((self.seen(front) + self.seen(side)).mean(1))

    class ViewAndTable(ViewsOfTokens):
        def forward(self, front, table):
            return self.fc(self.seen(front).mean(1) + table.sum(1, keepdim=True))

    for alias in ("attention_rollout", "transformer_attribution"):
        with pytest.raises(ValueError, match="1 of 2 are over what forward takes beside it"):
            made(alias)(Classifier(network(ViewsOfTokens)).with_extra({"side": SIDE}), IMAGES, TARGET)
        net = network(ViewAndTable)
        found = made(alias)(Classifier(net).with_extra({"table": TABLE}), IMAGES, TARGET)
        assert_same(found, one_by_one(made(alias), [Closed(net, TABLE[i : i + 1]) for i in range(3)]))


def test_explainers_within_explainers():
    net = network(Fusion)
    for explainer in (Normalized(made("expected_grad_cam"), "minmax"), Normalized(made("lime"), "rank")):
        found = explainer(Classifier(net, chunk_size=2).with_extra({"table": TABLE}), IMAGES, TARGET)
        assert_same(found, one_by_one(explainer, [Closed(net, TABLE[i : i + 1]) for i in range(3)]))


def test_segments_of_each_image_alone():
    net, explainer = network(Fusion), get_explainer("kernel_shap", segments="slic")
    images = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    found = explainer(Classifier(net, chunk_size=2).with_extra({"table": TABLE}), images, TARGET)
    networks = [Classifier(Closed(net, TABLE[i : i + 1]), chunk_size=2) for i in range(3)]
    assert_same(found, torch.cat([explainer(networks[i], images[i : i + 1], TARGET[i : i + 1]) for i in range(3)]))


def test_a_batch_of_another_size_than_its_extra_raises():
    for count in (1, 2):
        with pytest.raises(ValueError, match="one row of `extra` per image, but got 3 rows"):
            made("grad_cam")(Classifier(network(Fusion)).with_extra({"table": TABLE}), IMAGES[:count], TARGET[:count])
