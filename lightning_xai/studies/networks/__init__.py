"""Networks of the studies: surgery on torchvision's, small ones that learn within a minute, one with weights."""

from lightning_xai.studies.networks.convolutional import conv_flatten, conv_gap, mnist_cnn, vgg_fc, vgg_flatten
from lightning_xai.studies.networks.flat_head import LAST_CONVOLUTIONS, flatten_head
from lightning_xai.studies.networks.pretrained import (
    check_weights,
    efficientnet_lite0,
    timm_network,
    torchvision_network,
    with_classes,
)
from lightning_xai.studies.networks.registry import NETWORKS, make_network
from lightning_xai.studies.networks.residual import resnet_flatten, small_resnet18
from lightning_xai.studies.networks.small_densenet import small_densenet
from lightning_xai.studies.networks.small_efficientnet import small_efficientnet
from lightning_xai.studies.networks.small_vit import SmallViT
from lightning_xai.studies.networks.trainable_layers import TRAINABLE_LAYERS, train_only

__all__ = [
    "LAST_CONVOLUTIONS",
    "NETWORKS",
    "TRAINABLE_LAYERS",
    "SmallViT",
    "check_weights",
    "conv_flatten",
    "conv_gap",
    "efficientnet_lite0",
    "flatten_head",
    "make_network",
    "mnist_cnn",
    "resnet_flatten",
    "small_densenet",
    "small_efficientnet",
    "small_resnet18",
    "timm_network",
    "torchvision_network",
    "train_only",
    "vgg_fc",
    "vgg_flatten",
    "with_classes",
]
