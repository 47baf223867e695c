"""Where and how large: device, networks with random weights, images; everything seeded."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 10
SIDE = 224


class SmallCNN(nn.Sequential):
    """Four strided convolutions, global average pooling and one linear layer; 0.24 GFLOP (MAC) at 224 px."""

    def __init__(self) -> None:
        widths = (3, 32, 64, 128, 256)
        blocks: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            kernel = 7 if index == 0 else 3
            blocks += [
                nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], CLASSES))


def resnet50() -> nn.Module:
    """Return torchvision's ResNet-50 with random weights."""
    from torchvision.models import resnet50 as build

    return build(num_classes=CLASSES)


MODELS: dict[str, Callable[[], nn.Module]] = {"small CNN": SmallCNN, "ResNet-50": resnet50}


@dataclass(frozen=True)
class Setting:
    """How a run measures.

    Attributes:
        device: ``cpu`` or ``cuda``.
        quick: Fewest repeats, small CNN only, smaller images: shows that everything runs, not what it costs.
    """

    device: torch.device
    quick: bool

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def side(self) -> int:
        return 64 if self.quick else SIDE

    @property
    def names(self) -> list[str]:
        """Networks that this run measures."""
        return ["small CNN"] if self.quick else list(MODELS)

    def model(self, name: str) -> nn.Module:
        """Return the network in eval mode; the same weights in every run."""
        torch.manual_seed(0)
        return MODELS[name]().eval().to(self.device)

    def images(self, count: int) -> Tensor:
        """Return ``count`` images of standard normal values, (N, 3, side, side)."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(count, 3, self.side, self.side, generator=generator).to(self.device)

    def target(self, count: int) -> Tensor:
        """Return classes 0, 1, ... in turn."""
        return torch.arange(count, device=self.device) % CLASSES

    def size(self, *, cpu: int, gpu: int, quick: int) -> int:
        """Return the number that suits this run."""
        if self.quick:
            return quick
        return gpu if self.on_gpu else cpu

    def limit(self, promised: float) -> float | None:
        """Return what is promised, or None where sizes are too small for it to mean anything."""
        return None if self.quick else promised

    def described(self) -> dict[str, Any]:
        """Return what a reader needs to compare figures."""
        chip = torch.cuda.get_device_name(self.device) if self.on_gpu else platform.processor() or platform.machine()
        return {
            "device": chip,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "side": self.side,
            "quick": self.quick,
        }
