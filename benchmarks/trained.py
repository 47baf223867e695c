"""Small networks that were trained: errors and memory of random weights say little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from benchmarks.setting import Setting, SmallCNN
from lightning_xai import FashionCanvases, ShapesDataset

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts it."""


@dataclass(frozen=True)
class Trained:
    """A network with images that it has not seen.

    Attributes:
        name: Data and epochs.
        model: In eval mode.
        images: (N, 3, side, side), of 64 pixels for the small CNN.
        target: Their labels, (N,).
        accuracy: On them.
        group: Number of the photograph that each was cut from, int64 (N,); None if no two resemble each other.
    """

    name: str
    model: nn.Module
    images: Tensor
    target: Tensor
    accuracy: float
    group: Tensor | None = None

    def first(self, count: int) -> Trained:
        """Return the same network with the first images only."""
        group = None if self.group is None else self.group[:count]
        return replace(self, images=self.images[:count], target=self.target[:count], group=group)


def trained_networks(setting: Setting) -> Iterator[Trained]:
    """Yield a network trained on drawn shapes, and one on garments (or digits), early and late."""
    train, others = setting.size(cpu=4096, gpu=4096, quick=64), setting.size(cpu=256, gpu=512, quick=8)
    drawn = shapes(train), shapes(others, seed=2)
    yield from trained(setting, "shapes", *drawn, epochs=(setting.size(cpu=10, gpu=10, quick=1),))
    name, *data = _garments(train, others) if FASHION.exists() else _digits(train, others)
    yield from trained(setting, name, *data, epochs=(1, setting.size(cpu=6, gpu=6, quick=1)))


def trained(
    setting: Setting,
    name: str,
    train: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor],
    epochs: tuple[int, ...],
    build: Callable[[], nn.Module] = SmallCNN,
    lr: float = 2e-3,
    batch_size: int = 64,
    in_bf16: bool = False,
) -> Iterator[Trained]:
    """Yield one network after some of its epochs; the same weights in every run."""
    torch.manual_seed(0)
    model = build().to(setting.device)
    images, target = (tensor.to(setting.device) for tensor in train)
    unseen, labels = (tensor.to(setting.device) for tensor in others)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    for epoch in range(1, max(epochs) + 1):
        model.train()
        for chosen in torch.randperm(len(images)).split(batch_size):
            optimizer.zero_grad()
            with torch.autocast(images.device.type, torch.bfloat16, enabled=in_bf16):
                logits = model(images[chosen])
            F.cross_entropy(logits.float(), target[chosen]).backward()
            optimizer.step()
        if epoch in epochs:
            with torch.no_grad():
                accuracy = float((model.eval()(unseen).argmax(1) == labels).float().mean())
            yield Trained(f"{name}, epoch {epoch}", model.eval(), unseen, labels, accuracy)


def shapes(count: int, *, seed: int = 0, size: int = 64) -> tuple[Tensor, Tensor]:
    """Return drawn shapes and their labels."""
    return _tensors(ShapesDataset(count, size, seed=seed))


def _garments(train: int, others: int) -> tuple[str, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return Fashion-MNIST on cluttered canvases."""
    return "garments", _tensors(FashionCanvases(train)), _tensors(FashionCanvases(others, train=False))


def _digits(train: int, others: int) -> tuple[str, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return scikit-learn's digits enlarged to 64 pixels, where there is no Fashion-MNIST."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(found.images).float()[order, None] / 16
    images, target = F.interpolate(images, size=64, mode="bilinear").expand(-1, 3, -1, -1), found.target
    labels = torch.from_numpy(target).long()[order]
    split = min(train, len(labels) - others)
    return "digits", (images[:split], labels[:split]), (images[split:][:others], labels[split:][:others])


def _tensors(data: Dataset) -> tuple[Tensor, Tensor]:
    items = [data[index] for index in range(len(data))]  # type: ignore[arg-type]
    return torch.stack([item["image"] for item in items]), torch.tensor([int(item["label"]) for item in items])
