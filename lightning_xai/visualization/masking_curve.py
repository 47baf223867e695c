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
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, area
from lightning_xai.visualization.band import draw_band
from lightning_xai.visualization.display import ChannelValues
from lightning_xai.visualization.intensity import intensity
from lightning_xai.visualization.overlay import painted
from lightning_xai.visualization.strip import displayed_alike, draw_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DELETION, _INSERTION = MaskingCurve("deletion"), MaskingCurve("insertion", baseline="blur")
_COLORS = ("C0", "0.45", "C1", "C2", "C4", "C5", "C6", "C8", "C9")  # gray where a control mostly stands
_WIDTH, _HEIGHT = 6.2, 4.8  # inches


def plot_masking_curve(
    cases: Case | Mapping[str, Case],
    curves: Masking | Sequence[Masking] = (_DELETION, _INSERTION),
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
        image: Number of the image that is shown.
        num_frames: Points of its curve that are shown, from first to last and more at the beginning, where the most
            relevant pixels are changed.
        mean: What was subtracted when the images were normalised; see `displayed`.
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

    named = dict(cases) if isinstance(cases, Mapping) else {"heatmap": cases}
    every = [curves] if isinstance(curves, Masking) else list(curves)
    _check(named, every, image, num_frames)
    figure = Figure(figsize=(_WIDTH * len(every), _HEIGHT), layout="constrained")
    for part, curve in zip(figure.subfigures(1, len(every), squeeze=False)[0], every, strict=True):
        tracks = {name: _Track(case, curve) for name, case in named.items()}
        first = next(iter(tracks.values()))
        points = first.chosen(image, num_frames)
        grid = part.add_gridspec(2, num_frames + 1, height_ratios=(2.4, 1))
        _draw_curves(part.add_subplot(grid[0, :]), tracks, image, points)
        below = [part.add_subplot(grid[1, column]) for column in range(len(points) + 1)]
        frames = first.frames(image, points)
        versions = torch.cat([first.case.images[image : image + 1].detach(), frames])
        _draw_frames(below, first, image, points, displayed_alike(versions, mean, std), first.seen(image, frames))
    return figure


@dataclass(frozen=True)
class _Track:
    """A curve of a case, with the unchanged image in front where the curve leaves it out."""

    case: Case
    curve: Masking

    @cached_property
    def shares(self) -> Tensor:
        """Of each image that are changed, (N, P) on the CPU."""
        shares = self.curve.shares(self.case).cpu()
        return torch.nn.functional.pad(shares, (1, 0)) if self._lacks_intact else shares

    @cached_property
    def scores(self) -> Tensor:
        """Probability of the target there, (N, P) on the CPU."""
        case = self.case
        scores: Tensor = case[self.curve]
        if self._lacks_intact:
            scores = torch.cat([case.classifier.select(case.logits, case.target, "probability")[:, None], scores], 1)
        return scores.cpu()

    @cached_property
    def _lacks_intact(self) -> bool:
        return bool((self.curve.shares(self.case)[:, 0] > 0).any())

    def chosen(self, image: int, count: int) -> list[int]:
        """Return at most ``count`` points of one image's curve from its first to its last, dense at the beginning."""
        last = int((~self.scores[image].isnan()).sum()) - 1
        if last < count:
            return list(range(last + 1))
        return sorted({round(last * (k / (count - 1)) ** 2) for k in range(count)})

    def frames(self, image: int, points: Sequence[int]) -> Tensor:
        """Return what the model sees at these points, (n, C, H, W)."""
        if not self._lacks_intact:
            return self.curve.frames(self.case, image, points)
        own = [self.case.images[image : image + 1]] * points.count(0)
        return torch.cat([*own, self.curve.frames(self.case, image, [point - 1 for point in points if point > 0])])

    def seen(self, image: int, frames: Tensor) -> list[float]:
        """Return the probability of the target in frames (n, C, H, W); a curve may have lines instead of values."""
        classifier = self.case.classifier
        target = self.case.target[image].expand(len(frames))
        return classifier.select(classifier.logits(frames), target, "probability").tolist()


def _draw_curves(axes: Axes, tracks: Mapping[str, _Track], image: int, points: Sequence[int]) -> None:
    for number, (name, track) in enumerate(tracks.items()):
        size = f" (area {area(track.scores).mean():.2f})" if isinstance(track.curve, MaskingCurve) else ""
        draw_band(axes, track.shares, track.scores, name + size, _COLORS[number % len(_COLORS)])
    first = next(iter(tracks.values()))
    (own,) = axes.plot(first.shares[image].numpy(), first.scores[image].numpy(), label="image below")
    own.set(color=_COLORS[0], linewidth=0.8, linestyle=":", marker="o", markersize=4, markevery=list(points))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="probability of the target")
    axes.set_xlabel(f"share of {first.curve.changes}")
    axes.xaxis.set_major_formatter(_percent)
    axes.grid(color="0.9")
    axes.legend(fontsize="small", title=f"mean of {len(first.case)} images ± standard error", title_fontsize="small")


def _draw_frames(
    below: Sequence[Axes],
    track: _Track,
    image: int,
    points: Sequence[int],
    pictures: Tensor,
    probabilities: Sequence[float],
) -> None:
    heat = intensity(track.case.heatmaps[image : image + 1])
    draw_picture(below[0], painted(pictures[:1], heat)[0], "heatmap")
    for axes, point, picture, probability in zip(below[1:], points, pictures[1:], probabilities, strict=True):
        draw_picture(axes, picture, _percent(float(track.shares[image, point])), f"p = {probability:.2f}")


def _percent(share: float, _: object = None) -> str:
    return f"{100 * share:.0f} %"


def _check(cases: Mapping[str, Case], curves: Sequence[Masking], image: int, num_frames: int) -> None:
    if not cases or not curves:
        raise ValueError(f"Expected at least one of `{'curves' if cases else 'cases'}`, but got none.")
    check_count(num_frames, "num_frames", least=2)
    count = len(next(iter(cases.values())))
    if not 0 <= image < count:
        raise ValueError(f"Expected `image` to be the number of one of the {count} images, from 0, but got {image}.")
