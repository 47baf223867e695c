"""Images that need no download: drawn on the spot, with the class, the mask and the box of the object."""

from lightning_xai.datasets.shapes import ShapesDataset

__all__ = ["ShapesDataset"]
