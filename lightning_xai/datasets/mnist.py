"""MNIST."""

from __future__ import annotations

from lightning_xai.datasets.idx_images import IdxImages


class MNIST(IdxImages):
    """MNIST: handwritten digits, white on black, 28 × 28 pixels, 60,000 to train on and 10,000 to test.

    Nothing is downloaded unless you say so. Without the files, `DigitsDataset` has digits that a package brings along.

    Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proceedings of
    the IEEE 86(11), 1998.

    Args:
        num_images: Number of images N, the first of the files; None for all.
        train: Whether to take the images for training, or those for testing.
        folder: With the four IDX files, or where torchvision put them.
        download: Whether torchvision may bring the files into the folder if they are not there.

    Raises:
        FileNotFoundError: If the files are not in the folder, and are not to be downloaded.
        TypeError: If an argument has the wrong type.
        ValueError: If there are fewer than `num_images`, or a file is damaged.
    """

    called = "MNIST"
    classes = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
