import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_xai.datasets import MNIST, DigitsDataset, FashionMNIST
from tests._fashion import brightness_of_the_garment, where_the_garment_is, write_idx, write_small_fashion_mnist


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_fashion_mnist(tmp_path_factory.mktemp("fashion"), train=30, test=20)


@pytest.mark.parametrize("kind", [FashionMNIST, MNIST])
def test_images_are_those_of_the_files(folder, kind):
    data = kind(25, folder=folder)
    assert len(data) == 25
    for index, item in enumerate(data):
        label = index % 10
        expected = torch.zeros(1, 28, 28)
        expected[0][where_the_garment_is(label)] = brightness_of_the_garment(label) / 255
        torch.testing.assert_close(item["image"], expected)
        assert (item["label"], item["id"]) == (label, f"train-{index:05d}")
    assert data[-1]["id"] == "train-00024"
    assert kind(train=False, folder=folder)[3]["id"] == "test-00003"
    batch = next(iter(DataLoader(data, batch_size=25)))
    assert batch["image"].shape == (25, 1, 28, 28)
    assert batch["label"].tolist() == data.labels.tolist()


def test_names_of_classes():
    assert FashionMNIST.classes[9] == "ankle boot"
    assert MNIST.classes[9] == "9"


def test_what_is_missing_is_downloaded_where_torchvision_puts_it(tmp_path, monkeypatch):
    asked = []

    def download(root, train, download):
        asked.append((root, train, download))
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True)
        write_small_fashion_mnist(raw, train=10, test=10)

    monkeypatch.setattr("torchvision.datasets.MNIST", download)
    with pytest.raises(FileNotFoundError, match=r"Expected MNIST in `folder`.*no t10k-images.*folder='data/MNIST/raw'"):
        MNIST(train=False, folder=tmp_path)
    for _ in range(2):  # the second time they are there
        assert len(MNIST(train=False, folder=tmp_path, download=True)) == 10
    assert asked == [(str(tmp_path), False, True)]
    assert len(MNIST(folder=tmp_path / "MNIST" / "raw")) == 10


def test_wrong_arguments(folder, tmp_path):
    with pytest.raises(ValueError, match=r"at most 30.*train=True, but got 31"):
        FashionMNIST(31, folder=folder)
    with pytest.raises(ValueError, match="`num_images`"):
        FashionMNIST(0, folder=folder)
    write_idx(tmp_path / "train-images-idx3-ubyte", np.full((3, 28, 28), 9, np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([1, 2, 10], np.uint8))
    with pytest.raises(ValueError, match="below 10, the number of classes of MNIST, but got 10"):
        MNIST(folder=tmp_path)


class TestDigits:
    def test_every_digit_is_in_one_part(self):
        from sklearn.datasets import load_digits

        train, test = DigitsDataset(image_size=8), DigitsDataset(image_size=8, train=False)
        found = load_digits()
        places = [int(item["id"]) for part in (train, test) for item in part]
        assert sorted(places) == list(range(1797))
        assert (len(train), len(test)) == (1437, 360)
        for item in (train[3], test[359]):
            place = int(item["id"])
            assert item["label"] == found.target[place]
            torch.testing.assert_close(item["image"][0], torch.from_numpy(found.images[place]).float() / 16)
        assert test.labels.bincount().min() > 20

    def test_enlarged(self):
        small, large = DigitsDataset(20, 8)[7]["image"], DigitsDataset(20)[7]["image"]
        assert large.shape == (1, 32, 32)
        # between the centres of two pixels, at 4 a + 2 ± .5, lie 7/8 of the one and 1/8 of the other
        expected = (49 * small[0, 3, 4] + 7 * small[0, 3, 5] + 7 * small[0, 4, 4] + small[0, 4, 5]) / 64
        torch.testing.assert_close(large[0, 14, 18], expected)

    def test_wrong_arguments(self, monkeypatch):
        with pytest.raises(ValueError, match=r"at most 360.*train=False"):
            DigitsDataset(361, train=False)
        with pytest.raises(ValueError, match="`image_size`"):
            DigitsDataset(image_size=7)
        monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
        with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
            DigitsDataset()
