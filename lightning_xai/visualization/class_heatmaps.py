"""The heatmaps of several classes of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps
from lightning_xai.visualization.heatmap_rows import draw_heatmap_rows, two_decimals
from lightning_xai.visualization.pictures import ChannelValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEFAULT = ClassHeatmaps(num_classes=5, among="all")


def plot_class_heatmaps(
    case: Case,
    evidence: ClassHeatmaps = _DEFAULT,
    *,
    class_names: Sequence[str] | None = None,
    num_images: int = 3,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Draw the heatmaps of several classes of each image, with the probability p that the model gives the class.

    Maps that look alike for every class explain the image, not the decision.

    Args:
        case: Images with target and explainer.
        evidence: Which classes, and how many; by default the five most probable ones.
        class_names: Written instead of class numbers.
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
        >>> sorted(axes.get_title() for axes in plot_class_heatmaps(case, num_images=1).axes[:3])
        ['class 0', 'class 1', 'image']
    """
    check_count(num_images, "num_images")
    class_maps = case[evidence]
    classes, maps = class_maps.classes[:num_images], class_maps.heatmaps[:num_images].cpu()
    probabilities = case.classifier.probabilities(case.logits).gather(1, class_maps.classes)
    names = {label: _name(label, class_names) for label in classes.flatten().tolist()}
    titles = [[names[int(label)] for label in of_image] for of_image in classes]
    captions = [[two_decimals(probability, "p = ") for probability in of_image] for of_image in probabilities]
    return draw_heatmap_rows(case.images[:num_images], maps, titles, captions, mean=mean, std=std)


def _name(label: int, names: Sequence[str] | None) -> str:
    return f"class {label}" if names is None or label >= len(names) else names[label]
