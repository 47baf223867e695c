"""The CAM family through the automatic layer on ViT and Swin, of torchvision and timm."""

import warnings

import pytest
import timm
import torch
import torchvision
from torch import nn

from lightning_xai import GradCAM, LayerCAM, get_explainer, list_explainers
from tests._nets import ConvNet, TinyViT
from tests.explainers._made import FEW, supplied

NETWORKS = {
    "torchvision vit": lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4),
    "torchvision swin": lambda: torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=4),
    "timm vit": lambda: timm.models.VisionTransformer(32, 8, num_classes=4, embed_dim=16, depth=2, num_heads=2),
    "timm deit": lambda: timm.models.deit.VisionTransformerDistilled(
        32, 8, num_classes=4, embed_dim=16, depth=2, num_heads=2
    ),
    "timm swin": lambda: timm.models.SwinTransformer(
        32, 2, num_classes=4, embed_dim=16, depths=(2, 2), num_heads=(2, 2), window_size=4
    ),
}
BETTER = "Prefer TransformerAttribution"


def network(name):
    net = NETWORKS[name]()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.mark.filterwarnings("ignore:.*(on a transformer|signed at this layer)")
@pytest.mark.parametrize("alias", [alias for alias in list_explainers("cam") if alias != "cam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_vary_over_the_image_and_belong_to_it(alias, name):
    net, images, target = network(name), torch.randn(3, 3, 32, 32), torch.tensor([0, 2, 1])
    explainer = supplied(get_explainer(alias, relu=False, **FEW.get(alias, {})), size=(32, 32))
    heatmaps = explainer(net, images, target)
    assert float(heatmaps.flatten(1).std(1).amax()) > 1e-3 * float(heatmaps.abs().amax()) > 0
    singles = [explainer(net, images[i : i + 1], target[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(singles), heatmaps, rtol=1e-3, atol=1e-4 * float(heatmaps.abs().amax()))


@pytest.mark.parametrize("name", ["torchvision vit", "timm vit", "timm deit"])
def test_a_vision_transformer_gets_the_better_choice_once(name):
    net, images = network(name), torch.randn(2, 3, 32, 32)
    with pytest.warns(UserWarning, match=rf"GradCAM on a transformer .* attention of {type(net).__name__} .* {BETTER}"):
        GradCAM()(net, images, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GradCAM()(net, images, 0)
        LayerCAM()(net, images, 0)
    with pytest.warns(UserWarning, match=f"LayerCAM on a transformer .* {BETTER}"):
        LayerCAM()(network(name), images, 0)


@pytest.mark.parametrize("build", [lambda: network("torchvision swin"), lambda: network("timm swin"), ConvNet])
def test_other_networks_get_no_warning(build, recwarn):
    GradCAM()(build(), torch.randn(2, 3, 32, 32), 0)
    assert not [warning for warning in recwarn if BETTER in str(warning.message)]


def test_a_layer_that_was_chosen_gets_no_warning(recwarn):
    GradCAM("patches")(TinyViT(), torch.randn(2, 3, 16, 16), 0)
    assert not [warning for warning in recwarn if BETTER in str(warning.message)]
