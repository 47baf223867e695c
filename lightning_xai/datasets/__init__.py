"""Images with their classes and where the objects are: drawn on the spot, or read from files that are there."""

from lightning_xai.datasets.chest_xrays import ChestXraysDataset
from lightning_xai.datasets.digits import DigitsDataset
from lightning_xai.datasets.fashion_canvases import FashionCanvases
from lightning_xai.datasets.fashion_mnist import FashionMnist
from lightning_xai.datasets.idx import read_idx
from lightning_xai.datasets.mnist import Mnist
from lightning_xai.datasets.photographs.pasted_photographs import PastedPhotographs
from lightning_xai.datasets.photographs.sample_photographs import SamplePhotographs
from lightning_xai.datasets.shapes import ShapesDataset

__all__ = [
    "ChestXraysDataset",
    "DigitsDataset",
    "FashionCanvases",
    "FashionMnist",
    "Mnist",
    "PastedPhotographs",
    "SamplePhotographs",
    "ShapesDataset",
    "read_idx",
]
