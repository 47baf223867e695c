"""The best and the worst image of each metric, with the heatmaps of all explainers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.figures.heat_tables import ARROWS
from lightning_xai.comparison.records import shown
from lightning_xai.comparison.statistics.aggregates import compared, ranking_metrics, signed_means
from lightning_xai.visualization.heatmap_rows import draw_heatmap_rows
from lightning_xai.visualization.pictures import ChannelValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_xai.comparison.statistics.table_content import TableContent

_CHOSEN = "#c4521a"
_LETTERS = 16
_UNSIGNED, _SIGNED = "heat", "signed heat"


@dataclass(frozen=True)
class Extreme:
    """An image that an explainer explains best or worst, by one metric.

    Attributes:
        metric: Its name.
        word: ``"best"`` or ``"worst"``.
        explainer: Of which it is the best or worst image.
        image: Its place in the data.
    """

    metric: str
    word: str
    explainer: str
    image: int


def extremes(table: TableContent, setting: Setting) -> list[Extreme]:
    """Return for each metric the best image of the best explainer and the worst image of the worst one.

    Explainers are judged by their means, controls left out; metrics without a direction have no best. Of images that
    are equally good or bad the one of which the model is surest.
    """
    found, names = [], compared(table, controls=False)
    for metric in ranking_metrics(table):
        means = {name: mean for name, mean in _means(table, setting, metric, names) if not math.isnan(mean)}
        if means:
            for word, choose in (("best", max), ("worst", min)):
                explainer = choose(means, key=means.__getitem__)
                values = _signed_values(table, setting, explainer, metric)
                found.append(Extreme(metric, word, explainer, choose(values, key=values.__getitem__)))
    return found


def plot_extremes(
    table: TableContent, *, mean: ChannelValues | None = None, std: ChannelValues | None = None
) -> Figure:
    """Draw for each metric the best image of the best explainer and the worst image of the worst one.

    A row has an image and its heatmaps by all real explainers, with the metric's value of each below it; the one that
    was chosen has a frame.

    Args:
        table: Of a comparison, one setting of it; see `ComparisonTable.only`.
        mean: What was subtracted when the images were normalised; see `as_pictures`.
        std: What they were divided by.

    Raises:
        ValueError: If there are several settings, or no metric with a direction has values.
    """
    setting = only_setting(table)
    rows = extremes(table, setting)
    if not rows:
        raise ValueError("Expected a metric with a direction that has values, but found none.")
    places = [row.image for row in rows]
    maps = _heatmaps(table, setting, places)
    explainers = list(maps)
    quantities = [_SIGNED if _is_signed(own) else _UNSIGNED for own in maps.values()]
    items = table.behind.images(setting).probe.items
    images = [items[place].image.cpu().float() for place in places]
    size = tuple(images[0].shape[1:])  # images of other sizes are stretched to it
    pictures = torch.stack([_of_size(one, size) for one in images])
    heatmaps = torch.stack([_of_size(torch.stack(own), size) for own in zip(*maps.values(), strict=True)])
    captions = [[_value(table, setting, name, row) for name in explainers] for row in rows]
    titles = [explainers] * len(rows)
    figure = draw_heatmap_rows(pictures, heatmaps, titles, captions, quantities=quantities, mean=mean, std=std)
    _name_rows(table, setting, rows, explainers, figure)
    return figure


def only_setting(table: TableContent) -> Setting:
    """Return the setting of a table that has one.

    Raises:
        ValueError: If it has several.
    """
    if len(table.settings) > 1:
        listed = "; ".join(map(str, table.settings))
        raise ValueError(
            f"Expected a table of one setting to draw its images, but it has {len(table.settings)}: {listed}. Take one "
            "by `table.only(models=..., data=..., transforms=..., targets=...)`."
        )
    return table.settings[0]


def _heatmaps(table: TableContent, setting: Setting, places: Sequence[int]) -> dict[str, list[Tensor]]:
    """Return the heatmaps (H, W) of some images by each real explainer that has some, those with negative heat last."""
    names = compared(table, controls=False)
    found = {name: table.behind.heatmaps_by_image(Cell(setting, name), places) for name in names}
    known = {name: maps for name, maps in found.items() if maps is not None}
    return dict(sorted(known.items(), key=lambda item: _is_signed(item[1])))


def _is_signed(maps: Sequence[Tensor]) -> bool:
    return any(bool((one < 0).any()) for one in maps)


def _name_rows(
    table: TableContent, setting: Setting, rows: Sequence[Extreme], explainers: list[str], figure: Figure
) -> None:
    """Say beside each row what it is, below its image what is known of it, and frame the heatmap that was chosen."""
    width = 1 + len(explainers)
    for number, row in enumerate(rows):
        first, *others = figure.axes[number * width : (number + 1) * width]
        arrow = ARROWS[table.metrics[row.metric].higher_is_better]
        first.set_ylabel(f"{row.metric}{arrow}\n{row.word}", fontsize="small")
        first.set_title("")
        first.set_xlabel(_about(table, setting, row), fontsize="small")
        others[explainers.index(row.explainer)].spines[:].set(color=_CHOSEN, linewidth=2.5)


def _means(table: TableContent, setting: Setting, metric: str, names: Sequence[str]) -> list[tuple[str, float]]:
    return list(zip(names, signed_means(table, setting, metric, names), strict=True))


def _signed_values(table: TableContent, setting: Setting, explainer: str, metric: str) -> dict[int, float]:
    """Return the value of each image that has one, so that higher is better, the surest image first."""
    score, found = table.metrics[metric], table.values[Cell(setting, explainer), metric]
    values = score.per_image(found.rows).tolist()
    sign = 1.0 if score.higher_is_better else -1.0
    order = found.facts.probabilities.argsort(descending=True, stable=True).tolist()
    return {place: sign * values[place] for place in order if not math.isnan(values[place])}


def _of_size(planes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return planes (C, H, W) at another size."""
    return planes if tuple(planes.shape[1:]) == size else F.interpolate(planes[None], size, mode="bilinear")[0]


def _value(table: TableContent, setting: Setting, explainer: str, row: Extreme) -> str:
    found = table.of(setting, explainer, row.metric)
    return "–" if found is None else shown(float(table.metrics[row.metric].per_image(found.rows)[row.image]))


def _about(table: TableContent, setting: Setting, row: Extreme) -> str:
    """Return what is known of an image: its name or number, the explained class and its probability."""
    facts = table.values[Cell(setting, row.explainer), row.metric].facts
    name = facts.ids[row.image] or f"image {row.image}"
    name = name if len(name) <= _LETTERS else f"…{name[-_LETTERS + 1 :]}"
    return f"{name}\nclass {int(facts.target[row.image])}, p = {float(facts.probabilities[row.image]):.2g}"
