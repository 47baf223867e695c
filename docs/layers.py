"""Write docs/layers.md, what ``target_layer="auto"`` takes in many networks: ``python docs/layers.py``, ten minutes.

Needs timm and torchvision, and transformers for the last table, which is otherwise left as it is; nothing is
downloaded, weights are random. Names of tables as arguments refresh these alone.
"""

import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor, nn

from lightning_xai import Classifier
from lightning_xai.model.layer.capture import capture
from lightning_xai.model.layer.search import capture_points

PAGE = Path(__file__).parent / "layers.md"
HEAD = """# The layer that `target_layer="auto"` takes

Written by `python docs/layers.py`. Weights are random, so that nothing is downloaded. *Places* is the grid of the
heatmap before it is resized. *Moves* says for how many of four bright patches, one in each quarter of the image, the
layer's change, compared with that by the other patches, is greatest in the same quarter, as it should be for a heatmap
to mean places of the image. Where it is fewer than four, random weights spread the change over the image: `tinynet_e`
has four at 224 pixels, `efficientvit_b0` without its linear attention.

A layer is taken if it has the images' batch axis and space, and if all that the logits depend on comes past it: two
images exchange what they have there, and their logits must be exchanged. It is the last such layer; where only a class
token is read, it is what enters the last attention. `lightning_xai` says in one line of the log if most of the network
comes after it, or if it holds fewer than 4 x 4 places. Where nothing qualifies, an error asks for a name.
"""

TORCHVISION = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18",
    "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11",
    "vgg11_bn", "vit_b_32", "wide_resnet50_2",
]  # fmt: skip

TIMM = [
    "bat_resnext26ts", "beit_base_patch16_224", "botnet26t_256", "caformer_s18", "cait_xxs24_224",
    "coat_lite_tiny", "coatnet_nano_rw_224", "convformer_s18", "convit_tiny", "convmixer_768_32", "convnext_atto",
    "convnextv2_atto", "crossvit_tiny_240", "cs3darknet_s", "cspresnet50", "darknet53", "davit_tiny",
    "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224", "densenet121", "dla34",
    "dm_nfnet_f0", "dpn48b", "eca_halonext26ts", "edgenext_xx_small", "efficientformer_l1",
    "efficientformerv2_s0", "efficientnet_lite0", "efficientvit_b0", "efficientvit_m0", "ese_vovnet19b_dw",
    "eva02_tiny_patch14_224", "fastvit_t8", "fbnetc_100", "fbnetv3_b", "flexivit_small", "focalnet_tiny_srf",
    "gcvit_xxtiny", "gernet_s", "ghostnet_050", "ghostnetv2_100", "gmlp_ti16_224", "halonet26t", "hardcorenas_a",
    "haloregnetz_b", "hgnet_tiny", "hgnetv2_b0", "hiera_tiny_224", "hrnet_w18_small", "inception_next_atto",
    "inception_v3", "inception_v4", "lambda_resnet26t", "lcnet_050", "levit_128s", "mambaout_femto",
    "maxvit_nano_rw_256", "mixer_s16_224", "mixnet_s", "mobilenetv3_small_050", "mobilenetv4_conv_small",
    "mobileone_s0", "mobilevit_xxs", "mobilevitv2_050", "mvitv2_tiny", "nest_tiny", "nextvit_small",
    "nf_regnet_b0", "pit_ti_224", "pnasnet5large", "poolformer_s12", "poolformerv2_s12", "pvt_v2_b0",
    "rdnet_tiny", "regnetx_002", "repghostnet_050", "repvgg_a0", "repvit_m0_9", "res2net50_26w_4s",
    "resmlp_12_224", "resnest14d", "resnet18", "resnet50_clip", "resnetv2_50", "rexnet_100",
    "samvit_base_patch16_224", "selecsls42b", "semnasnet_075", "sequencer2d_s", "shvit_s1", "skresnet18",
    "spnasnet_100", "starnet_s1", "swiftformer_xs", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_ns_224",
    "swinv2_tiny_window8_256", "test_vit", "test_vit2", "tf_efficientnetv2_b0", "tiny_vit_5m_224", "tinynet_e",
    "tnt_s_patch16_224", "tresnet_m", "twins_svt_small", "vgg11", "visformer_tiny", "vit_base_patch16_siglip_224",
    "vit_relpos_small_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3",
    "vit_tiny_patch16_224", "vitamin_small_224", "volo_d1_224", "xception41", "xcit_nano_12_p16_224",
]  # fmt: skip


def main() -> None:
    """Try every network and write the page."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning_xai").setLevel(logging.ERROR)
    tables = {"torchvision": (TORCHVISION, _of_torchvision), "timm": (TIMM, _of_timm), "transformers": ([], None)}
    if importlib.util.find_spec("transformers") is not None:
        from _networks_of_transformers import NETWORKS

        tables["transformers"] = (list(NETWORKS), lambda name: NETWORKS[name]())
    asked = sys.argv[1:] or list(tables)
    page = PAGE.read_text(encoding="utf-8").split("\n## ") if PAGE.exists() else []
    before = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in page[1:]}
    parts = [HEAD]
    for title, (names, build) in tables.items():
        rows = "\n".join(_table(names, build)) if build is not None and title in asked else before.get(title, "")
        parts.append(f"## {title}\n\n{rows}\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def _of_torchvision(name: str) -> tuple[nn.Module, int]:
    extra = {"init_weights": False, "aux_logits": False} if name in {"googlenet", "inception_v3"} else {}
    return torchvision.models.get_model(name, weights=None, num_classes=10, **extra), 224


def _of_timm(name: str) -> tuple[nn.Module, int]:
    net = timm.create_model(name, num_classes=10)
    return net, net.default_cfg["input_size"][1]


def _table(names: list[str], build: Callable[[str], tuple[nn.Module, int]]) -> Iterator[str]:
    yield "| network | image | layer | places | moves |\n|---|---|---|---|---|"
    for name in names:
        torch.manual_seed(0)
        net, size = build(name)
        row = f"| `{name}` | {size} | {_looked_up(_prepared(net, size), size)} |"
        sys.stderr.write(row + "\n")
        yield row


def _prepared(net: nn.Module, size: int) -> nn.Module:
    """Return it with a head that is not zero, and with the statistics of noise in its batch normalisations."""
    for module in net.modules():
        if isinstance(module, nn.Linear) and not bool(module.weight.any()):
            nn.init.normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.train()
    if any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        for module in net.modules():
            module.training = isinstance(module, nn.BatchNorm2d)
        with torch.no_grad():
            net(torch.randn(4, 3, size, size))
    return net.eval()


def _looked_up(net: nn.Module, size: int) -> str:
    images, classifier = torch.randn(1, 3, size, size), Classifier(net)
    try:
        (point,) = capture_points(classifier, "auto", images)
    except ValueError:
        return "refused: no layer with space that all paths to the logits come past | – | –"
    plain = _activations(classifier, images, point)
    patched = [_activations(classifier, _with_patch(images, quarter), point) for quarter in range(4)]
    changes = torch.cat([(one - plain).abs().mean(1, keepdim=True) for one in patched])
    moves = (_strongest_quarter(changes / changes.sum(0), size) == torch.arange(4)).sum()
    return f"{point} | {plain.shape[2]} x {plain.shape[3]} | {moves} of 4"


def _activations(classifier: Classifier, images: Tensor, point: object) -> Tensor:
    return capture(classifier, images, torch.zeros(1, dtype=torch.long), point, gradients=False).activations


def _with_patch(images: Tensor, quarter: int) -> Tensor:
    side = images.shape[2] // 2
    top, left = side * (quarter // 2) + side // 4, side * (quarter % 2) + side // 4
    changed = images.clone()
    changed[:, :, top : top + side // 2, left : left + side // 2] += 5.0
    return changed


def _strongest_quarter(changes: Tensor, size: int) -> Tensor:
    """Return for each of the maps (M, 1, h, w) which quarter of the image holds most."""
    heat, half = nn.functional.interpolate(changes.nan_to_num(), size=(size, size), mode="nearest"), size // 2
    quarters = [heat[:, 0, top : top + half, left : left + half].sum((1, 2)) for top in (0, half) for left in (0, half)]
    return torch.stack(quarters, 1).argmax(1)


if __name__ == "__main__":
    main()
