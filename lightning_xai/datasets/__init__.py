"""Images with their classes and where the objects are: drawn on the spot, or read from files that are there."""

from lightning_xai.datasets.chest_xrays import ChestXraysDataset
from lightning_xai.datasets.digits import DigitsDataset
from lightning_xai.datasets.fashion_canvases import FashionCanvases
from lightning_xai.datasets.fashion_mnist import FashionMNIST
from lightning_xai.datasets.grouped_split import grouped_split
from lightning_xai.datasets.idx import read_idx
from lightning_xai.datasets.mnist import MNIST
from lightning_xai.datasets.photographs.pasted_photographs import PastedPhotographs
from lightning_xai.datasets.photographs.sample_photographs import SamplePhotographs
from lightning_xai.datasets.readers.chest_xray14_dataset import ChestXray14Dataset
from lightning_xai.datasets.readers.coco_dataset import CocoDataset
from lightning_xai.datasets.readers.framing import Framing
from lightning_xai.datasets.readers.ilsvrc_dataset import IlsvrcDataset
from lightning_xai.datasets.readers.image_folder import ImageFolder
from lightning_xai.datasets.readers.voc_dataset import VocDataset
from lightning_xai.datasets.shapes import ShapesDataset

__all__ = [
    "MNIST",
    "ChestXray14Dataset",
    "ChestXraysDataset",
    "CocoDataset",
    "DigitsDataset",
    "FashionCanvases",
    "FashionMNIST",
    "Framing",
    "IlsvrcDataset",
    "ImageFolder",
    "PastedPhotographs",
    "SamplePhotographs",
    "ShapesDataset",
    "VocDataset",
    "grouped_split",
    "read_idx",
]
