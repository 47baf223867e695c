"""Heatmaps of an image's noisy copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood
from lightning_xai.visualization.heatmap_rows import draw_heatmap_rows, two_decimals
from lightning_xai.visualization.pictures import ChannelValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_neighbour_heatmaps(
    case: Case,
    evidence: Neighbourhood = Neighbourhood(num_samples=5),  # noqa: B008 - frozen
    *,
    num_images: int = 3,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Draw the heatmap of each image, and those of its noisy copies with their relative change.

    The change is ``‖m(x) − m(x + ε)‖ / ‖m(x)‖``, of which `MaxSensitivity` takes the largest and `AvgSensitivity` the
    mean. Costs another heatmap per copy of the images drawn beside those of the evidence.

    Args:
        case: Images with target and explainer.
        evidence: Noise and number of the copies.
        num_images: Rows, from the first image.
        mean: What was subtracted when the images were normalised; see `as_pictures`.
        std: What they were divided by.

    Returns:
        A figure that pyplot does not know: save it, or let a notebook show it.

    Raises:
        ValueError: If ``num_images`` is below 1.

    Example:
        >>> import torch
        >>> from lightning_xai import GradCAM
        >>> conv = torch.nn.Conv2d(1, 2, 3)
        >>> net = torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> case = Case(net, torch.rand(2, 1, 8, 8), 1, explainer=GradCAM())
        >>> [axes.get_title() for axes in plot_neighbour_heatmaps(case, Neighbourhood(num_samples=2)).axes[:4]]
        ['image', 'no noise', 'copy 1', 'copy 2']
    """
    check_count(num_images, "num_images")
    neighbours = case[evidence]
    images, target = case.images[:num_images], case.target[:num_images]
    every = torch.arange(len(images), device=images.device)
    maps = [case.heatmaps[:num_images]]
    for sample in range(evidence.num_samples):
        noise = evidence.noise_of(case, every, torch.full_like(every, sample)).to(images.dtype)
        maps.append(case.explainer(case.classifier, images + noise, target))
    titles = ["no noise", *(f"copy {sample + 1}" for sample in range(evidence.num_samples))]
    changes = neighbours.change(relative=True)[:num_images]
    captions = [["", *(two_decimals(change, "change ") for change in of_image)] for of_image in changes]
    return draw_heatmap_rows(images, torch.stack(maps, 1).cpu(), [titles] * len(images), captions, mean=mean, std=std)
