"""Small networks and what tests ask of them."""

import random
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode


class ConvNet(nn.Sequential):
    """Convolutions with BatchNorm and in-place ReLUs, global average pooling, one linear layer: CAM is defined."""

    def __init__(self, channels=3, classes=4, width=6):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2 * width, classes)


class FlattenNet(nn.Module):
    """Convolutions, then one linear layer over the flattened feature maps."""

    def __init__(self, classes=3, side=8, width=5):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.fc = nn.Linear(width * side * side, classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).flatten(1))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Linear(width, width)

    def forward(self, x):
        normed = self.norm(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(x)


class TinyViT(nn.Module):
    """Two attention blocks over square patches; only the first of `prefix` extra tokens is read."""

    def __init__(self, image_size=(16, 16), prefix=1, classes=4, width=8, channels=3, patch=4):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.prefix = nn.Parameter(torch.randn(1, prefix, width))
        places = (image_size[0] // patch) * (image_size[1] // patch)
        self.position = nn.Parameter(torch.randn(1, places, width))
        self.blocks = nn.Sequential(Residual(width), Residual(width))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        x = torch.cat([self.prefix.expand(len(x), -1, -1), x], dim=1)
        return self.head(self.blocks(x)[:, 0])


class ConvViT(nn.Module):
    """The convolutions of ConvNet, which halve the image, before the blocks of TinyViT; layers named as ConvNet's."""

    def __init__(self, channels=3, classes=4, image_size=(16, 12)):
        super().__init__()
        self.features = ConvNet(channels).features
        self.vit = TinyViT((image_size[0] // 2, image_size[1] // 2), channels=12, patch=2)
        self.fc, self.vit.head = nn.Linear(self.vit.head.in_features, classes), nn.Identity()

    def forward(self, x):
        return self.fc(self.vit(self.features(x)))


def calibrated(model, *, size=224, images=2):
    """Give BatchNorm layers the statistics of noise, so that an untrained network's activations are not near zero."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.train()(torch.randn(images, 3, size, size))
    return model.eval()


@contextmanager
def images_through(module):
    """Count the images that enter ``module``."""
    count = [0]

    def add(_, args):
        count[0] += len(args[0])

    handle = module.register_forward_pre_hook(add)
    try:
        yield count
    finally:
        handle.remove()


class ImagesConvolved(TorchDispatchMode):
    """Count the images that a convolution computes, not those for which its module is called."""

    def __init__(self, convolution):
        super().__init__()
        self.count, self._weight = 0, convolution.weight

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default and args[1].data_ptr() == self._weight.data_ptr():
            self.count += len(args[0])
        return func(*args, **(kwargs or {}))


def state_of(model):
    """Everything about ``model`` and the process that an explanation must leave alone, as a flat dictionary."""
    hooks = [name for name in vars(nn.Module()) if "hook" in name and "state_dict" not in name]
    state = {"random": torch.get_rng_state(), "numpy": np.random.get_state()[1].tolist(), "python": random.getstate()}
    for name, parameter in model.named_parameters():
        state[name] = parameter.detach().clone()
        state[f"{name}.requires_grad"] = parameter.requires_grad
        state[f"{name}.grad"] = None if parameter.grad is None else parameter.grad.clone()
    for name, buffer in model.named_buffers():
        state[name] = buffer.detach().clone()
        state[f"id({name})"] = id(buffer)
    for name, module in model.named_modules():
        state[f"{name}.training"] = module.training
        state[f"{name}.__dict__"] = sorted(vars(module))
        state |= {f"{name}.{hook}": repr(getattr(module, hook)) for hook in hooks}
    return state


def differences(before, after):
    """Return what differs between two states, by name."""
    names = before.keys() | after.keys()
    return sorted(name for name in names if not _equal(before.get(name), after.get(name)))


def _equal(first, second):
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    return type(first) is type(second) and first == second


class Fusion(nn.Module):
    """Feature maps of an image, gated by a table's row and joined with it before the last layer."""

    def __init__(self, channels=3, columns=2, classes=4):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Linear(columns, 8)
        self.fc = nn.Linear(8 + columns, classes)

    def forward(self, image, table):
        pooled = self.pool(self.features(image)).flatten(1)
        return self.fc(torch.cat([pooled * (1 + F.relu(self.gate(table))), table], 1))


class TwoViews(nn.Module):
    """One backbone for two views of a thing, of which only the first is explained."""

    def __init__(self, classes=4):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, classes)

    def seen(self, view):
        return self.pool(self.features(view)).flatten(1)

    def forward(self, front, side):
        return self.fc(torch.cat([self.seen(front), self.seen(side)], 1))


class Closed(nn.Module):
    """``lambda x: model(x, row)``: a network of images alone, for one image's own row."""

    def __init__(self, model, row):
        super().__init__()
        self.model, self.row = model, row

    def forward(self, x):
        return self.model(x, self.row.expand(len(x), *self.row.shape[1:]))


class ByBrightness(nn.Module):
    """All goes through `second` for dark images; bright ones have another way, which leaves `first`."""

    def __init__(self, channels=3, classes=2):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        early = self.first(x)
        pooled = self.second(early).amax((2, 3))
        return self.fc(pooled + early.amax((2, 3)) if x[0].mean() > 0 else pooled)
