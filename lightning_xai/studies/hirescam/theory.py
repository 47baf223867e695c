"""Propositions 1 to 4 and Table 1 of the thesis, as equalities of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_xai.comparison.records import Records
from lightning_xai.explainers.cam.cam import CAM
from lightning_xai.explainers.cam.grad_cam import GradCAM
from lightning_xai.explainers.cam.hires_cam import HiResCAM
from lightning_xai.model.classifier import Classifier
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.hirescam.explained import explained_images

COLUMNS = ("structure", "network", "explained at", "CAM", "maps", "grad_cam", "hires_cam")
_SIZE, _CHANNELS, _WIDTH, _CLASSES = (6, 9), 3, 7, 5
_HEADS: dict[str, Callable[[], list[nn.Module]]] = {
    "Conv – GAP – class scores": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTH, _CLASSES)],
    "Conv – Flatten – class scores": lambda: [nn.Flatten(), nn.Linear(_WIDTH * math.prod(_SIZE), _CLASSES)],
    "Conv – GAP – dense – class scores": lambda: [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(_WIDTH, 16),
        nn.ReLU(),
        nn.Linear(16, _CLASSES),
    ],
    "Conv – Flatten – dense – class scores": lambda: [
        nn.Flatten(),
        nn.Linear(_WIDTH * math.prod(_SIZE), 16),
        nn.ReLU(),
        nn.Linear(16, _CLASSES),
    ],
}
GAP, FLATTEN = list(_HEADS)[:2]
LAST, FIRST = "the last convolution", "an earlier convolution"
FLATTENED = "what is flattened"


@dataclass(frozen=True)
class Equalities:
    """How far two maps and the class score are from each other; 0 is equal, each relative to the greatest value.

    Attributes:
        of_cam: max |Z · m_Grad-CAM − m_CAM| and |Z · m_HiResCAM − m_CAM| over max |m_CAM|, Z the number of places; NaN
            where CAM is not defined.
        of_maps: max |m_Grad-CAM − m_HiResCAM| over max |m_HiResCAM|.
        of_grad_cam: max |Σ m_Grad-CAM + b − s| over max |s − b|, over images.
        of_hires_cam: The same of HiResCAM.
    """

    of_cam: float
    of_maps: float
    of_grad_cam: float
    of_hires_cam: float


def table_1(context: AnalysisContext, part: str, num_images: int = 16, num_networks: int = 3) -> Records:
    """Return what Table 1 and Propositions 1 to 4 say, measured: on networks drawn at random, and on those of a part.

    Args:
        context: Of the analysis.
        part: Whose trained networks are asked as well.
        num_images: Of each network.
        num_networks: Drawn at random for each structure; the greatest of their numbers counts.
    """
    rows = [*_of_random_networks(num_images, num_networks), *_of_trained_networks(context, part, num_images)]
    notes = (
        "Greatest relative distance over images; below 1e-5 is rounding of float32: equal. CAM: of CAM, Grad-CAM and "
        "HiResCAM, up to the number of places. maps: of Grad-CAM and HiResCAM. grad_cam and hires_cam: of the sum of "
        "the map without ReLU, plus the bias, and the class score (eq. 20).",
    )
    return Records(COLUMNS, tuple(rows), "", notes)


def equalities(network: nn.Module, layer: str, images: Tensor, *, with_cam: bool = False) -> Equalities:
    """Return how far the maps of a network's predicted classes and its scores are from being equal.

    Args:
        network: Its last `torch.nn.Linear` gives the class scores.
        layer: Dotted name of the layer that is explained.
        images: (N, C, H, W).
        with_cam: Whether the network ends in GAP and one linear layer, so that CAM is defined.
    """
    classifier = Classifier(network)
    with torch.no_grad():
        logits = network(images)
    target = logits.argmax(1)
    grad, hires = (kind(layer, relu=False).explain(classifier, images, target) for kind in (GradCAM, HiResCAM))
    last = [one for one in network.modules() if isinstance(one, nn.Linear)][-1]
    score = logits.gather(1, target[:, None])[:, 0] - last.bias.detach()[target]
    cam = CAM().explain(classifier, images, target) if with_cam else torch.full_like(grad, torch.nan)
    places = math.prod(grad.shape[1:])
    return Equalities(
        of_cam=max(_distance(places * one, cam) for one in (grad, hires)) if with_cam else math.nan,
        of_maps=_distance(grad, hires),
        of_grad_cam=_distance(grad.sum((1, 2)), score),
        of_hires_cam=_distance(hires.sum((1, 2)), score),
    )


def _distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max() / second.abs().max())


def _of_random_networks(num_images: int, num_networks: int) -> Iterator[tuple[object, ...]]:
    for structure in _HEADS:
        for place, layer in ((LAST, "2"), (FIRST, "0")):
            found = [_of_random_network(structure, layer, num_images, seed) for seed in range(num_networks)]
            numbers = [max(getattr(one, name) for one in found) for name in Equalities.__dataclass_fields__]
            yield (structure, "random", place, *(None if math.isnan(one) else one for one in numbers))


def _of_random_network(structure: str, layer: str, num_images: int, seed: int) -> Equalities:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        convolutions = [nn.Conv2d(_CHANNELS, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, _WIDTH, 3, padding=1)]
        network = nn.Sequential(*convolutions, *_HEADS[structure]()).double().eval()
        images = torch.randn(num_images, _CHANNELS, *_SIZE, dtype=torch.float64)
    return equalities(network, layer, images, with_cam=structure == GAP and layer == "2")


def _of_trained_networks(context: AnalysisContext, part: str, num_images: int) -> Iterator[tuple[object, ...]]:
    """Yield the same for networks of Conv – Flatten – class scores: at what is flattened, and at the last convolution.

    Both are one layer but in residual networks, where the shortcut comes between them.
    """
    for one in explained_images(context, part, num_images, {"hires_cam": HiResCAM()}):
        convolutions = [name for name, module in one.module.named_modules() if isinstance(module, nn.Conv2d)]
        layers = [name for name in convolutions if "downsample" not in name]
        flattened = before_flatten(one.module)
        network, images = one.module.double(), one.cases["hires_cam"].images.double()
        for place, layer in ((FLATTENED, flattened), (LAST, layers[-1])):
            if place == LAST and layer == flattened:
                continue
            found = equalities(network, layer, images)
            yield (FLATTEN, one.network, place, None, found.of_maps, found.of_grad_cam, found.of_hires_cam)


def before_flatten(network: nn.Module) -> str:
    """Return the name of the layer whose output `torch.nn.Flatten` gets: the child before it, or the last of its own.

    Raises:
        ValueError: If no `torch.nn.Flatten` follows another layer.
    """
    children = list(network.named_children())
    before = [name for name, child in children if isinstance(child, nn.Flatten)]
    place = [name for name, _ in children].index(before[0]) if before else 0
    if not place:
        listed = ", ".join(name for name, _ in children)
        raise ValueError(f"Expected `network` to have a Flatten after a layer, but its children are {listed}.")
    name, layer = children[place - 1]
    while isinstance(layer, nn.Sequential):
        inner, layer = list(layer.named_children())[-1]
        name = f"{name}.{inner}"
    return name
