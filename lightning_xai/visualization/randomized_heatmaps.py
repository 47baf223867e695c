"""What becomes of heatmaps while the model loses what it has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.randomized_heatmaps import RandomizedHeatmaps
from lightning_xai.metrics.correlation import spearman
from lightning_xai.visualization.heatmap_rows import draw_heatmap_rows, two_decimals
from lightning_xai.visualization.pictures import ChannelValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_randomized_heatmaps(
    case: Case,
    evidence: RandomizedHeatmaps = RandomizedHeatmaps(),  # noqa: B008 - frozen
    *,
    num_images: int = 3,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Draw the heatmap of the trained model, and those of the model with more and more parameters drawn anew.

    Below each stands its Spearman correlation ρ with the first: an explanation of what the model learned loses it.

    Args:
        case: Images with target and explainer.
        evidence: Order and number of the steps.
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
        >>> [axes.get_title() for axes in plot_randomized_heatmaps(case, num_images=1).axes[:3]]
        ['image', 'trained', 'top-down 1 / 1']
    """
    check_count(num_images, "num_images")
    maps = torch.cat([case.heatmaps[:, None], case[evidence]], 1)[:num_images].cpu()
    num_maps = maps.shape[1]
    rho = torch.stack([spearman(maps[:, 0], maps[:, step]) for step in range(num_maps)], 1)
    order = evidence.order.replace("_", "-")
    titles = ["trained", *(f"{order} {step} / {num_maps - 1}" for step in range(1, num_maps))]
    captions = [["", *(two_decimals(similarity, "ρ = ") for similarity in of_image[1:])] for of_image in rho]
    return draw_heatmap_rows(case.images[:num_images], maps, [titles] * len(maps), captions, mean=mean, std=std)
