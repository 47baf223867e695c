"""Images with their classes and where the objects are: drawn on the spot, or pasted from files that are there."""

from lightning_xai.datasets.chest_xrays import ChestXraysDataset
from lightning_xai.datasets.fashion_canvases import FashionCanvases
from lightning_xai.datasets.idx import read_idx
from lightning_xai.datasets.shapes import ShapesDataset

__all__ = ["ChestXraysDataset", "FashionCanvases", "ShapesDataset", "read_idx"]
