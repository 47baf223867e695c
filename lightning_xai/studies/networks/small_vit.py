"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_count


class SmallViT(nn.Module):
    """A class token and one token per patch; blocks of global attention, and a linear layer on the class token.

    Convolutions of stride 2 make the tokens, so that it learns within a minute; all places meet in the attention only.
    `AttentionRollout` and `TransformerAttribution` explain it, and the CAM family at ``stem``.

    Args:
        num_classes: Number of logits.
        channels: Of the images.
        image_size: Side of the images in pixels, a multiple of the patch's.
        patch_size: 4, 8 or 16; 4 for images of up to 32 pixels and 8 for larger ones if None.
        width: Of the tokens, a multiple of the heads and of 4.
        depth: Number of blocks.
        num_heads: Of each attention.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or sizes do not divide.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        image_size: int = 64,
        *,
        patch_size: int | None = None,
        width: int = 64,
        depth: int = 3,
        num_heads: int = 4,
    ) -> None:
        counts = {"num_classes": num_classes, "channels": channels, "image_size": image_size, "width": width}
        for name, value in {**counts, "depth": depth, "num_heads": num_heads}.items():
            check_count(value, name)
        patch_size = (4 if image_size <= 32 else 8) if patch_size is None else patch_size
        _check_sizes(image_size, patch_size, width, num_heads)
        super().__init__()
        self.patch_size = patch_size
        self.stem = _stem(channels, width, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + (image_size // patch_size) ** 2, width))
        block = nn.TransformerEncoderLayer(
            width, num_heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) of images (N, channels, S, S)."""
        patches = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], 1) + self.position
        logits: Tensor = self.head(self.encoder(tokens)[:, 0])
        return logits


def _stem(channels: int, width: int, patch_size: int) -> nn.Sequential:
    """Return convolutions that halve images until a patch is one place."""
    num_halvings = patch_size.bit_length() - 1
    widths = [max(4, width >> (num_halvings - 1 - number)) for number in range(num_halvings)]
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
        layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
        if number < num_halvings - 1:
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def _check_sizes(image_size: int, patch_size: int, width: int, num_heads: int) -> None:
    if patch_size not in {4, 8, 16} or image_size % patch_size:
        raise ValueError(
            "Expected `patch_size` to be 4, 8 or 16 and to divide `image_size`, but got "
            f"patch_size={patch_size} and image_size={image_size}."
        )
    if width % num_heads:
        raise ValueError(f"Expected `width` to be a multiple of `num_heads`, but got {width} and {num_heads}.")
