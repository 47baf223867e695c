"""Images with the class, the mask and the box of the object: drawn on the spot, or pasted from files that are there."""

from lightning_xai.datasets.fashion_canvases import FashionCanvases
from lightning_xai.datasets.idx import read_idx
from lightning_xai.datasets.shapes import ShapesDataset

__all__ = ["FashionCanvases", "ShapesDataset", "read_idx"]
