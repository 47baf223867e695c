"""How the class score moves while an image is masked, and what is left of the image meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.visualization.heatmap_rows import draw_picture
from lightning_xai.visualization.mean_curve import draw_mean_curve
from lightning_xai.visualization.pictures import ChannelValues, as_pictures, intensity, said_where_blank, with_heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DELETION, INSERTION = MaskingCurve("deletion"), MaskingCurve("insertion", baseline="blur")
_COLORS = ("C0", "0.45", "C1", "C2", "C4", "C5", "C6", "C8", "C9")  # gray where a control mostly stands
_WIDTH, _HEIGHT, _LEGEND_WIDTH = 6.2, 4.8, 2.9  # inches
_MOST_NAMED_INSIDE = 3  # curves: a legend of more would lie on them


def plot_masking_curve(
    cases: Case | Mapping[str, Case],
    curves: Masking | Sequence[Masking] = (DELETION, INSERTION),
    *,
    image: int = 0,
    num_frames: int = 6,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Draw the mean curve over all images with its standard error, and one image while it is masked.

    Below the curves stand the heatmap of one image and what the model sees of it at some points of its own, thin curve.
    Costs what the curves cost, where the cases have not collected them yet.

    Args:
        cases: Images with heatmaps, or several such by name: explainers, or an explainer and its control, such as
            ``{"Grad-CAM": case, "random": case.with_heatmaps(explainer=RandomHeatmap(grid=7))}``. The frames are the
            first one's.
        curves: One or several, drawn beside each other; by default those of `DeletionAUC` and `InsertionAUC`.
        image: Number of the image that is drawn.
        num_frames: Points of its curve that are drawn, from first to last and more at the beginning, where the most
            relevant pixels are changed.
        mean: What was subtracted when the images were normalised; see `as_pictures`.
        std: What they were divided by.

    Returns:
        A figure that pyplot does not know: save it, or let a notebook show it.

    Raises:
        ValueError: If there is no case, no curve or no image of that number, or ``num_frames`` is below 2.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> case = Case(net, torch.rand(3, 1, 8, 8), 1, heatmaps=torch.rand(3, 8, 8))
        >>> figure = plot_masking_curve({"mine": case}, MaskingCurve(num_steps=8))
        >>> figure.axes[0].get_xlabel()
        'share of pixels removed'
    """
    from matplotlib.figure import Figure

    cases_by_name = dict(cases) if isinstance(cases, Mapping) else {"heatmap": cases}
    curves = [curves] if isinstance(curves, Masking) else list(curves)
    _check(cases_by_name, curves, image, num_frames)
    width = _WIDTH if len(cases_by_name) <= _MOST_NAMED_INSIDE else _WIDTH + _LEGEND_WIDTH
    figure = Figure(figsize=(width * len(curves), _HEIGHT), layout="constrained")
    for part, curve in zip(figure.subfigures(1, len(curves), squeeze=False)[0], curves, strict=True):
        complete = {name: _CompleteCurve(case, curve) for name, case in cases_by_name.items()}
        first = next(iter(complete.values()))
        points = first.chosen_points(image, num_frames)
        grid = part.add_gridspec(2, num_frames + 1, height_ratios=(2.4, 1))
        _draw_curves(part.add_subplot(grid[0, :]), complete, image, points)
        axes_below = [part.add_subplot(grid[1, column]) for column in range(len(points) + 1)]
        _draw_changed_images(axes_below, first, image, points, mean, std)
    return figure


def as_comparable_pictures(
    images: Tensor, mean: ChannelValues | None = None, std: ChannelValues | None = None
) -> Tensor:
    """Return versions of one image, (n, C, H, W), as pictures, uint8 (n, H, W, 3): see `as_pictures`.

    An image whose values are stretched is stretched together with its versions, so that equal values look equal.

    Example:
        >>> versions = torch.tensor([[[[-1.0, 1.0]]], [[[0.0, 0.0]]]])
        >>> as_comparable_pictures(versions)[..., 0].tolist()
        [[[0, 255]], [[128, 128]]]
    """
    together = torch.cat(list(images), dim=1)[None]
    return torch.stack(as_pictures(together, mean, std)[0].chunk(len(images)))


@dataclass(frozen=True)
class _CompleteCurve:
    """A masking curve of a case, with the unchanged image in front where it has none."""

    case: Case
    curve: Masking

    @cached_property
    def share_changed(self) -> Tensor:
        """How much of each image is masked at each point, (N, P) on the CPU."""
        shares = self.curve.share_changed(self.case).cpu()
        return shares if self.curve.has_unchanged_image else torch.nn.functional.pad(shares, (1, 0))

    @cached_property
    def probabilities(self) -> Tensor:
        """What the model gives the target at each point, (N, P) on the CPU."""
        case = self.case
        probabilities = case[self.curve]
        if not self.curve.has_unchanged_image:
            intact = case.classifier.select(case.lowered_logits, case.target, "probability")
            probabilities = torch.cat([intact[:, None], probabilities], 1)
        return probabilities.cpu()

    def chosen_points(self, image: int, num_points: int) -> list[int]:
        """Return at most so many points of one image's curve from its first to its last, dense at the beginning."""
        last = int((~self.probabilities[image].isnan()).sum()) - 1
        if last < num_points:
            return list(range(last + 1))
        shares = self.share_changed[image, : last + 1].double()
        wanted = torch.linspace(0, 1, num_points, dtype=torch.float64).square() * (shares[-1] - shares[0]) + shares[0]
        return sorted(set((shares - wanted[:, None]).abs().argmin(1).tolist()))

    def changed_images(self, image: int, points: Sequence[int]) -> Tensor:
        """Return what the model sees of one image at these points, (n, C, H, W)."""
        if self.curve.has_unchanged_image:
            return self.curve.changed_images(self.case, image, points)
        intact = [self.case.images[image : image + 1]] * points.count(0)
        return torch.cat(
            [*intact, self.curve.changed_images(self.case, image, [point - 1 for point in points if point > 0])]
        )

    def probabilities_of(self, image: int, changed: Tensor) -> list[float]:
        """Return the target's probability in changed images (n, C, H, W); a curve may have lines instead of values."""
        classifier = self.case.classifier.lowered()
        target = self.case.target[image].expand(len(changed))
        return classifier.select(classifier.logits(changed), target, "probability").tolist()


def _draw_curves(axes: Axes, complete: Mapping[str, _CompleteCurve], image: int, points: Sequence[int]) -> None:
    is_inside = len(complete) <= _MOST_NAMED_INSIDE
    opacity = 0.2 if is_inside else 0.1
    for index, (name, one) in enumerate(complete.items()):
        size = f" (area {one.curve.area(one.case).mean():.2f})" if isinstance(one.curve, MaskingCurve) else ""
        draw_mean_curve(
            axes, one.share_changed, one.probabilities, name + size, _COLORS[index % len(_COLORS)], opacity=opacity
        )
    first = next(iter(complete.values()))
    (line,) = axes.plot(first.share_changed[image].numpy(), first.probabilities[image].numpy(), label="image below")
    line.set(color=_COLORS[0], linewidth=0.8, linestyle=":", marker="o", markersize=4, markevery=list(points))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="probability of the target")
    axes.set_xlabel(f"share of {first.curve.description}")
    axes.xaxis.set_major_formatter(_percent)
    axes.grid(color="0.9")
    title = f"mean of {len(first.case)} images ± standard error"
    legend = axes.legend(fontsize="small", title=title, title_fontsize="small")
    if not is_inside:
        legend.set(loc="upper left")
        legend.set_bbox_to_anchor((1.0, 1.0))


def _draw_changed_images(
    axes_below: Sequence[Axes],
    complete: _CompleteCurve,
    image: int,
    points: Sequence[int],
    mean: ChannelValues | None,
    std: ChannelValues | None,
) -> None:
    case, changed = complete.case, complete.changed_images(image, points)
    intact, *masked = as_comparable_pictures(torch.cat([case.images[image : image + 1].detach(), changed]), mean, std)
    heatmap = case.heatmaps[image : image + 1]
    heat = intensity(heatmap)
    (blank,) = said_where_blank(heatmap, heat)
    draw_picture(axes_below[0], with_heat(intact[None], heat)[0], "heatmap", label=blank)
    shares, probabilities = complete.share_changed[image], complete.probabilities_of(image, changed)
    for axes, point, picture, probability in zip(axes_below[1:], points, masked, probabilities, strict=True):
        draw_picture(axes, picture, _percent(float(shares[point])), f"p = {probability:.2f}")


def _percent(fraction: float, _: object = None) -> str:
    return f"{100 * fraction:.0f} %"


def _check(cases: Mapping[str, Case], curves: Sequence[Masking], image: int, num_frames: int) -> None:
    if not cases or not curves:
        raise ValueError(f"Expected at least one of `{'curves' if cases else 'cases'}`, but got none.")
    check_count(num_frames, "num_frames", least=2)
    num_images = len(next(iter(cases.values())))
    if not 0 <= image < num_images:
        raise ValueError(
            f"Expected `image` to be the number of one of the {num_images} images, from 0, but got {image}."
        )
