"""Small networks of Hugging Face transformers with random weights for docs/layers.py: name -> (network, size)."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

_VIT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip
_TEXT = {**_VIT, "vocab_size": 100, "max_position_embeddings": 20, "eos_token_id": 2}
_VISION = {**_VIT, "image_size": 224, "patch_size": 16}
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_WINDOWS: dict[str, Any] = {"embed_dim": 12, "depths": [1, 1, 1, 2], "num_heads": [1, 1, 2, 2]}


class ZeroShot(nn.Module):
    """An image and text model as a classifier: the texts are fixed, and the text tower runs beside the image's."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("texts", torch.randint(3, 90, (5, 12)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, 5)."""
        return self.model(input_ids=self.texts, pixel_values=images).logits_per_image


def _network(family: str, size: int = 224, suffix: str = "ForImageClassification", **settings: Any) -> Any:
    def build() -> tuple[nn.Module, int]:
        config = getattr(hf, f"{family}Config")(num_labels=4, **settings)
        return getattr(hf, family + suffix)(config), size

    return build


def _zero_shot(family: str) -> Any:
    def build() -> tuple[nn.Module, int]:
        return ZeroShot(getattr(hf, f"{family}Model")(getattr(hf, f"{family}Config")(**_TOWERS))), 224

    return build


_TOWERS = {"vision_config": _VISION, "text_config": _TEXT}
NETWORKS: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "ViT": _network("ViT", **_VIT),
    "DeiT": _network("DeiT", suffix="ForImageClassificationWithTeacher", **_VIT),
    "BEiT": _network("Beit", **_VIT),
    "ViT-MSN": _network("ViTMSN", **_VIT),
    "DINOv2": _network("Dinov2", image_size=224, **_VIT),
    "DINOv2 with registers": _network("Dinov2WithRegisters", image_size=224, **_VIT),
    "Swin, windows of 7, images of 384": _network("Swin", size=384, image_size=384, **_WINDOWS),
    "Swin V2": _network("Swinv2", size=256, image_size=256, **_WINDOWS),
    "Hiera": _network("Hiera", **{**_WINDOWS, "embed_dim": 16}),
    "FocalNet": _network("FocalNet", embed_dim=16, depths=[1, 1, 1, 1]),
    "ConvNeXt": _network("ConvNext", **_STAGES),
    "ConvNeXt V2": _network("ConvNextV2", **_STAGES),
    "ResNet": _network("ResNet", embedding_size=8, layer_type="basic", **_STAGES),
    "RegNet": _network("RegNet", embedding_size=8, groups_width=8, **_STAGES),
    "MobileViT": _network("MobileViT", size=256),
    "MobileNet V2": _network("MobileNetV2"),
    "SegFormer": _network("Segformer", hidden_sizes=[8, 8, 16, 16]),
    "PVT V2": _network("PvtV2", hidden_sizes=[8, 16, 20, 24], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 2]),
    "CvT": _network("Cvt", embed_dim=[8, 16, 24], num_heads=[1, 2, 2], depth=[1, 2, 3]),
    "PoolFormer": _network("PoolFormer", **_STAGES),
    "LeViT": _network("Levit"),
    "SwiftFormer": _network("SwiftFormer"),
    "TextNet": _network("TextNet"),
    "CLIP": _network("CLIP", **_TOWERS),
    "SigLIP": _network("Siglip", **_TOWERS),
    "CLIP, zero-shot": _zero_shot("CLIP"),
    "SigLIP, zero-shot": _zero_shot("Siglip"),
}
