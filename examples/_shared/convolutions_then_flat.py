"""A network as VGG is: plain convolutions, and a classifier that sees where each feature stands."""

from torch import nn

CHANNELS = (16, 32, 64)


def small_vgg(num_classes: int, image_size: int) -> nn.Sequential:
    """Return three pairs of convolutions, each halved by pooling, flattened into two linear layers."""
    layers: list[nn.Module] = []
    for channels_in, channels_out in zip((3, *CHANNELS), CHANNELS, strict=False):
        for before in (channels_in, channels_out):
            layers += [nn.Conv2d(before, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out)]
            layers.append(nn.ReLU())
        layers.append(nn.MaxPool2d(2))
    side = image_size // 2 ** len(CHANNELS)
    classifier = (nn.Linear(CHANNELS[-1] * side**2, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, num_classes))
    return nn.Sequential(*layers, nn.Flatten(), *classifier)
