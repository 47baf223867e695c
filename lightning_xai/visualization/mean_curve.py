"""A mean curve over images with the band of its standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUM_COMMON_POSITIONS = 101


def draw_mean_curve(
    axes: Axes, positions: Tensor, values: Tensor, label: str, color: str, opacity: float = 0.2
) -> None:
    """Draw the mean of N curves, and the mean ± its standard error where there are at least two.

    Args:
        axes: Where to draw.
        positions: Of the values along the x-axis, (N, P), ascending, NaN after a row's end; rows that differ are
            interpolated linearly.
        values: (N, P), NaN after a row's end.
        label: In the legend.
        color: Of matplotlib.
        opacity: Of the band.
    """
    common, curves = at_common_positions(positions.detach().cpu().double(), values.detach().cpu().double())
    mean = curves.mean(0)
    axes.plot(common.numpy(), mean.numpy(), color=color, label=label)
    if len(curves) > 1:
        error = curves.std(0) / len(curves) ** 0.5
        low, high = (mean - error).numpy(), (mean + error).numpy()
        axes.fill_between(common.numpy(), low, high, color=color, alpha=opacity, linewidth=0)


def at_common_positions(positions: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return positions (P,) that all curves have in common, and their values there (N, P).

    Example:
        >>> nan = float("nan")
        >>> positions = torch.tensor([[0.0, 0.5, 1.0], [0.0, 1.0, nan]])
        >>> common, curves = at_common_positions(positions, torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, nan]]))
        >>> common[50], curves[:, 50]
        (tensor(0.5000, dtype=torch.float64), tensor([0.0000, 0.5000], dtype=torch.float64))
    """
    if bool((positions == positions[0]).all()):
        return positions[0], values
    common = np.linspace(0.0, 1.0, _NUM_COMMON_POSITIONS)
    curves = []
    for own_positions, own_values in zip(positions, values, strict=True):
        inside = ~own_positions.isnan()
        curves.append(np.interp(common, own_positions[inside].numpy(), own_values[inside].numpy()))
    return torch.from_numpy(common), torch.from_numpy(np.stack(curves))
