"""Every explainer on the networks that people train: a map that says something, or the documented error."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import nn

from lightning_xai import Classifier, get_explainer, list_explainers
from lightning_xai._settings import setting_names
from tests._nets import calibrated
from tests.explainers._made import FEW, supplied

SIDE, CLASSES = 64, 5
NETWORKS = [
    "resnet18",
    "densenet121",
    "efficientnet_b0",
    "vgg11_bn",
    "googlenet",
    "mobilenet_v3_small",
    "convnext_tiny",
    "swin_t",
    "vit_b_16",
    "timm.resnet18",
    "timm.vit_tiny_patch16_224",
]
WITHOUT_ATTENTION_OVER_THE_IMAGE = {*NETWORKS} - {"vit_b_16", "timm.vit_tiny_patch16_224"}
WITHOUT_ONE_LINEAR_LAYER_AFTER_POOLING = {"vgg11_bn", "mobilenet_v3_small", "convnext_tiny"} | (
    {*NETWORKS} - WITHOUT_ATTENTION_OVER_THE_IMAGE
)
NOT_OF_RELUS = {
    "efficientnet_b0",
    "mobilenet_v3_small",
    "convnext_tiny",
    "swin_t",
    "vit_b_16",
    "timm.vit_tiny_patch16_224",
}
REFUSED: dict[str, set[str]] = {
    "attention_rollout": WITHOUT_ATTENTION_OVER_THE_IMAGE,
    "cam": WITHOUT_ONE_LINEAR_LAYER_AFTER_POOLING,
    "deep_lift": NOT_OF_RELUS,
    "guided_backprop": NOT_OF_RELUS,
    "guided_grad_cam": NOT_OF_RELUS,
    "lrp": NOT_OF_RELUS,
    "transformer_attribution": WITHOUT_ATTENTION_OVER_THE_IMAGE,
}
"""Alias -> networks that it refuses."""


FEWER = {
    **FEW,
    "kernel_shap": {"grid": 2},
    "lime": {"grid": 2, "num_samples": 12},
    "occlusion": {"window": 32},
    "rise": {"num_masks": 10},
}
SMOOTH = {"convnext_tiny", "swin_t", "vit_b_16", "timm.vit_tiny_patch16_224"}


@cache
def network(name):
    settings = {}
    if name.startswith("timm."):
        import timm

        if "vit" in name:
            settings = {"img_size": SIDE}
        build = timm.create_model
        arguments = (name.removeprefix("timm."),)
    else:
        import torchvision

        settings = {"googlenet": {"aux_logits": False, "init_weights": False}, "vgg11_bn": {"init_weights": False}}
        settings = settings.get(name, {})
        build, arguments = getattr(torchvision.models, name), ()
        if name == "vit_b_16":  # a quarter as wide: a pass costs its weights, of which there are 86 million
            build, arguments = torchvision.models.VisionTransformer, (SIDE, 16, 12, 3, 192, 768)
    torch.manual_seed(1)
    net = build(*arguments, num_classes=CLASSES, **settings)
    if name == "vgg11_bn":  # likewise, of 129 million
        net.classifier = nn.Sequential(
            *(nn.Linear(512 * 49, 64), nn.ReLU(True), nn.Dropout()),
            *(nn.Linear(64, 64), nn.ReLU(True), nn.Dropout()),
            nn.Linear(64, CLASSES),
        )
    for module in net.modules():
        if isinstance(module, nn.Linear) and module.out_features == CLASSES:
            # some start with zeros, and give no gradient; wide ones with large values are sure of everything
            nn.init.normal_(module.weight, std=2 * module.in_features**-0.5)
    net = calibrated(net, size=SIDE, images=8)
    # in float32 rounding turns ReLUs on and off, and the gradients of an untrained network jump by a tenth
    return net if name in SMOOTH else net.double()


def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@cache
def predicted(name):
    return Classifier(network(name)).logits(images()).argmax(1)


def unrectified(explainer):
    """Return the explainer without its ReLU, which may leave nothing of a map of an untrained network."""
    settings = {name: getattr(explainer, name) for name in setting_names(type(explainer))}
    return type(explainer)(**{**settings, "relu": False}) if "relu" in settings else explainer


@pytest.mark.parametrize("alias", [alias for alias in list_explainers() if alias != "score_cam"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:.*on a transformer:UserWarning", "ignore:XGradCAM divides:UserWarning")
def test_a_map_or_the_documented_error(name, alias):
    explainer = supplied(get_explainer(alias, **FEWER.get(alias, {})), size=(SIDE, SIDE))
    net, target = network(name), predicted(name)
    if name in REFUSED.get(alias, ()):
        with pytest.raises(ValueError, match="Expected"):
            explainer(net, images(), target)
        return
    heatmaps = explainer(net, images(), target)
    assert bool(heatmaps.isfinite().all())
    says_something = heatmaps if varies(heatmaps) else unrectified(explainer)(net, images(), target)
    assert varies(says_something)
    alone = explainer(net, images()[1:], target[1:])
    torch.testing.assert_close(alone, heatmaps[1:], rtol=0, atol=1e-4 * float(heatmaps[1].abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:.*on a transformer:UserWarning")
def test_score_cam_of_one_image_whose_thousand_channels_are_seen_on_one_network_and_some_on_the_others(name):
    net, target = copy.deepcopy(network(name)).float(), predicted(name)
    classifier = Classifier(net, chunk_size=32)
    of_all = name == "timm.vit_tiny_patch16_224"  # the fewest, 192
    heatmaps = get_explainer("score_cam", num_channels=None if of_all else 32)(classifier, images()[:1], target[:1])
    assert classifier.evaluations == (1 + 192 if of_all else 1 + 32)
    assert bool(heatmaps.isfinite().all())
    assert varies(heatmaps)


def varies(heatmaps):
    return bool((heatmaps.flatten(1).amax(1) > heatmaps.flatten(1).amin(1)).all())


def test_what_refuses_says_so():
    for alias in list_explainers():
        assert bool(get_explainer(alias).refuses) == (alias in REFUSED), alias
