"""ResNet-18 and ViT-tiny at 112 pixels that know some images by heart: what knows nothing has flat curves."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.setting import Setting
from benchmarks.trained import Trained, shapes, trained

SIDE = 112


def larger_network(setting: Setting, name: str) -> tuple[Trained, nn.Module]:
    """Return ``"resnet18"`` or ``"ViT-tiny"``, with images it was trained on, and the module that Grad-CAM reads.

    So few steps teach such networks no shapes, but these images, and then their probabilities rise from those of an
    empty image to the class's as a trained network's do.
    """
    images, labels = shapes(setting.size(cpu=64, gpu=64, quick=4), size=SIDE)
    explained = slice(setting.size(cpu=32, gpu=32, quick=2))
    data = (images, labels), (images[explained], labels[explained])
    build, layer, lr, most = _NETWORKS[name]
    epochs = (setting.size(cpu=most, gpu=most, quick=1),)
    given = {"build": build, "lr": lr, "batch_size": 16, "in_bf16": True}
    network = next(trained(setting, name, *data, epochs=epochs, **given))
    return network, network.model.get_submodule(layer)


def _resnet18() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(num_classes=4)


class ViTTiny(nn.Module):
    """ViT-Ti/16 (5.5 million weights) that classifies the mean of its tokens, which `grid` has as maps."""

    def __init__(self) -> None:
        from torchvision.models.vision_transformer import Encoder

        super().__init__()
        self.across = SIDE // 16
        self.patches = nn.Conv2d(3, 192, 16, 16)
        self.encoder = Encoder(self.across**2, 12, 3, 192, 768, dropout=0.0, attention_dropout=0.0)
        self.grid = nn.Identity()
        self.head = nn.Linear(192, 4)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.encoder(self.patches(images).flatten(2).transpose(1, 2))
        maps = self.grid(tokens.transpose(1, 2).unflatten(2, (self.across, self.across)))
        return self.head(maps.mean((2, 3)))


_NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, float, int]] = {
    "resnet18": (_resnet18, "layer4", 1e-3, 20),
    "ViT-tiny": (ViTTiny, "grid", 5e-4, 60),
}
