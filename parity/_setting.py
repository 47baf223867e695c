"""The network, images, heatmaps and explainer on which numbers are compared; all seeded, in eval mode, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai import Explainer

CLASSES = 4
COUNT = 6
SIDE = 12  # 144 pixels: whole pixels of three channels fill steps of 18 values, and 16 patches of 3 x 3
PIXELS = SIDE * SIDE


def network(seed: int = 0) -> nn.Sequential:
    """Return a small network whose answer depends on position and whose predictions are neither sure nor even."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * PIXELS, CLASSES),
        )
        nn.init.normal_(net[6].weight, std=0.15)
        net[1].running_mean.uniform_(-0.1, 0.1)
        net[1].running_var.uniform_(0.3, 0.5)
    return net.eval()


def images(count: int = COUNT, channels: int = 3, seed: int = 1) -> Tensor:
    """Return smooth images with some noise, (count, channels, SIDE, SIDE)."""
    random = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.randn(count, channels, 4, 4, generator=random), SIDE, mode="bilinear")
    return smooth + 0.3 * torch.randn(count, channels, SIDE, SIDE, generator=random)


def heatmaps(count: int = COUNT, seed: int = 2) -> Tensor:
    """Return positive maps without ties, (count, SIDE, SIDE): no order among equals can decide a number."""
    random = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.randn(count, 1, 4, 4, generator=random), SIDE, mode="bilinear")[:, 0]
    return (smooth + 0.2 * torch.randn(count, SIDE, SIDE, generator=random)).abs()


def target(count: int = COUNT) -> Tensor:
    """Return classes 0, 1, ... in turn."""
    return torch.arange(count) % CLASSES


def masks(count: int = COUNT) -> Tensor:
    """Return rectangles of different sizes, boolean (count, SIDE, SIDE)."""
    made = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for i in range(count):
        made[i, i % 4 : 5 + i, 2 : 6 + i] = True
    return made


class InputTimesGradient(Explainer):
    """Sum over channels of the image times the gradient of the class' logit: signed, and different for every class."""

    target_layer = "3"

    def explain(self, classifier, images, target):
        with torch.enable_grad():
            leaf = images.clone().requires_grad_()
            logits = classifier.model(leaf).gather(1, target[:, None]).sum()
            (gradient,) = torch.autograd.grad(logits, leaf)
        return (images * gradient).sum(1)


def close(found: Tensor, expected: object, tolerance: float = 1e-5) -> None:
    """Assert that values per image agree, and that they are defined and not all the same."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert len(expected) == 1 or len(expected[~expected.isnan()].unique()) > 1
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance, equal_nan=True)
