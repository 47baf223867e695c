"""Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

from lightning_xai.datasets.idx_images import IdxImages

DEBIAN = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package dataset-fashion-mnist puts the files."""


class FashionMNIST(IdxImages):
    """Fashion-MNIST: gray pictures of ten kinds of garments, 28 × 28 pixels, 60,000 to train on and 10,000 to test.

    Nothing is downloaded unless you say so: Debian's package ``dataset-fashion-mnist`` brings the files. It is
    `FashionCanvases` that knows where the garment is.

    Source: Xiao, Rasul & Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    2017, https://arxiv.org/abs/1708.07747.

    Args:
        num_images: Number of images N, the first of the files; None for all.
        train: Whether to take the images for training, or those for testing.
        folder: With the four IDX files, or where torchvision put them.
        download: Whether torchvision may bring the files into the folder if they are not there.

    Raises:
        FileNotFoundError: If the files are not in the folder, and are not to be downloaded.
        TypeError: If an argument has the wrong type.
        ValueError: If there are fewer than `num_images`, or a file is damaged.

    Example:
        >>> FashionMNIST(folder="nowhere")
        Traceback (most recent call last):
            ...
        FileNotFoundError: Expected FashionMNIST in `folder`, but nowhere has no train-images-idx3-ubyte(.gz). ...
    """

    called = "FashionMNIST"
    advice = f"Install it (Debian, Ubuntu: `apt install dataset-fashion-mnist` brings {DEBIAN}). "
    classes = (
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )

    def __init__(
        self, num_images: int | None = None, train: bool = True, folder: str | Path = DEBIAN, download: bool = False
    ) -> None:
        super().__init__(num_images, train, folder, download)
