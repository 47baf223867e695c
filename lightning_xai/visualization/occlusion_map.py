"""The heatmap beside what the model itself says when parts of the image are hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap
from lightning_xai.metrics.correlation import spearman
from lightning_xai.visualization.heatmap_rows import draw_heatmap_rows, two_decimals
from lightning_xai.visualization.pictures import ChannelValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_occlusion_map(
    case: Case,
    evidence: OcclusionMap = OcclusionMap(),  # noqa: B008 - frozen
    *,
    num_images: int = 3,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Draw the heatmap of each image, and how far the target's probability falls where a patch of the image is hidden.

    Below the second stands its Spearman correlation ρ with the heatmap averaged over the cells, the value of
    `OcclusionCorrelation`, and the largest fall of the probability.

    Args:
        case: Images with target and heatmaps.
        evidence: Grid, size and baseline of the patches.
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
        >>> [axes.get_title() for axes in plot_occlusion_map(case, OcclusionMap((4, 4)), num_images=1).axes[:3]]
        ['image', 'heatmap', 'fall when hidden']
    """
    check_count(num_images, "num_images")
    drops, heatmaps = evidence.drops(case)[:num_images].cpu(), case.heatmaps[:num_images].cpu()
    rho = spearman(F.adaptive_avg_pool2d(heatmaps[:, None], evidence.grid)[:, 0], drops)
    captions = [
        ["", f"{two_decimals(of_image, 'ρ = ')}, at most {largest:.2f}"]
        for of_image, largest in zip(rho, drops.flatten(1).amax(1), strict=True)
    ]
    cells = F.interpolate(drops[:, None], heatmaps.shape[1:], mode="nearest-exact")[:, 0]
    titles = [["heatmap", "fall when hidden"]] * len(drops)
    maps = torch.stack([heatmaps, cells], 1)
    quantities = ["heat", "fall"]
    images = case.images[:num_images]
    return draw_heatmap_rows(images, maps, titles, captions, quantities=quantities, mean=mean, std=std)
