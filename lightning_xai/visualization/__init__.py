"""Heatmaps as pictures: overlays, outlines, the grid that is logged, and figures of what the metrics have seen."""

from lightning_xai.visualization.class_heatmaps import plot_class_heatmaps
from lightning_xai.visualization.contours import boxed, outlined
from lightning_xai.visualization.grid import heatmap_grid
from lightning_xai.visualization.masking_curve import plot_masking_curve
from lightning_xai.visualization.neighbour_heatmaps import plot_neighbour_heatmaps
from lightning_xai.visualization.occlusion_map import plot_occlusion_map
from lightning_xai.visualization.pictures import as_pictures, intensity, overlay
from lightning_xai.visualization.randomized_heatmaps import plot_randomized_heatmaps
from lightning_xai.visualization.saturation import plot_saturation

__all__ = [
    "as_pictures",
    "boxed",
    "heatmap_grid",
    "intensity",
    "outlined",
    "overlay",
    "plot_class_heatmaps",
    "plot_masking_curve",
    "plot_neighbour_heatmaps",
    "plot_occlusion_map",
    "plot_randomized_heatmaps",
    "plot_saturation",
]
