"""Heatmaps as pictures: overlays, outlines and the grid that is logged."""

from lightning_xai.visualization.display import displayed
from lightning_xai.visualization.grid import heatmap_grid
from lightning_xai.visualization.intensity import intensity
from lightning_xai.visualization.outline import boxed, outlined
from lightning_xai.visualization.overlay import overlay

__all__ = ["boxed", "displayed", "heatmap_grid", "intensity", "outlined", "overlay"]
