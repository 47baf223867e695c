"""A mean curve over images with the band of its standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUM_POINTS = 101  # where curves of different places are compared


def draw_band(axes: Axes, places: Tensor, values: Tensor, label: str, color: str) -> None:
    """Draw the mean of N curves, and the mean ± its standard error where there are at least two.

    Args:
        axes: Where to draw.
        places: Of the values, (N, P), ascending, NaN after a row's end; rows that differ are interpolated linearly.
        values: (N, P), NaN after a row's end.
        label: In the legend.
        color: Of matplotlib.
    """
    place, rows = aligned(places.detach().cpu().double(), values.detach().cpu().double())
    mean = rows.mean(0)
    axes.plot(place.numpy(), mean.numpy(), color=color, label=label)
    if len(rows) > 1:
        error = rows.std(0) / len(rows) ** 0.5
        axes.fill_between(
            place.numpy(), (mean - error).numpy(), (mean + error).numpy(), color=color, alpha=0.2, linewidth=0
        )


def aligned(places: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return common places (P,) and the values there (N, P).

    Example:
        >>> nan = float("nan")
        >>> places = torch.tensor([[0.0, 0.5, 1.0], [0.0, 1.0, nan]])
        >>> place, rows = aligned(places, torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, nan]]))
        >>> place[50], rows[:, 50]
        (tensor(0.5000, dtype=torch.float64), tensor([0.0000, 0.5000], dtype=torch.float64))
    """
    if bool((places == places[0]).all()):
        return places[0], values
    common = np.linspace(0.0, 1.0, _NUM_POINTS)
    rows = []
    for place, value in zip(places, values, strict=True):
        known = ~place.isnan()
        rows.append(np.interp(common, place[known].numpy(), value[known].numpy()))
    return torch.from_numpy(common), torch.from_numpy(np.stack(rows))
