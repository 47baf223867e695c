"""Masking curves of the explainers of one setting, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_xai._checks import check_count
from lightning_xai.comparison.figures.extremes import only_setting
from lightning_xai.comparison.figures.heat_tables import row_name
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.model.preserve import preserved
from lightning_xai.visualization.masking_curve import DELETION, INSERTION, plot_masking_curve
from lightning_xai.visualization.pictures import ChannelValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_xai.comparison.statistics.table_content import TableContent


def plot_curves(
    table: TableContent,
    *,
    num_images: int = 16,
    curves: Masking | Sequence[Masking] = (DELETION, INSERTION),
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Draw the masking curves of all explainers of a setting, means over images with their standard errors.

    The kept heatmaps are masked again, because a comparison keeps values, not curves: the model is evaluated for
    ``num_images`` × explainers × the points of the curves (about 20 by default).

    Args:
        table: Of a comparison, one setting of it; see `ComparisonTable.only`.
        num_images: At most so many of the compared images, of one size; classes take turns.
        curves: One or several, drawn beside each other; by default those of `DeletionAUC` and `InsertionAUC`.
        mean: What was subtracted when the images were normalised; see `as_pictures`.
        std: What they were divided by.

    Raises:
        ValueError: If there are several settings, no heatmaps, or ``num_images`` is below 1.
    """
    check_count(num_images, "num_images")
    setting = only_setting(table)
    archive = table.behind
    places = archive.chosen(setting, num_images)
    with archive.cases(setting, table.explainers, places) as cases:
        named = {row_name(table, name): case for name, case in cases.items()}
        if not named:
            raise ValueError(f"Expected heatmaps in {setting}, but none could be made: see `table.failures`.")
        with preserved(next(iter(named.values())).classifier.model):
            return plot_masking_curve(named, curves, mean=mean, std=std)
