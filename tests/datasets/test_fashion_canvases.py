import gzip
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_xai import FashionCanvases
from tests._fashion import brightness_of_the_garment, where_the_garment_is, write_idx, write_small_fashion_mnist

ARRAYS = ("images", "labels", "masks", "boxes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_fashion_mnist(tmp_path_factory.mktemp("fashion"), train=300, test=20)


def assert_same(first, second, num_images):
    for name in ARRAYS:
        assert torch.equal(getattr(first, name)[:num_images], getattr(second, name)[:num_images]), name


@pytest.mark.parametrize("image_size", [32, 64, 97])
def test_items_know_where_the_garment_is(folder, image_size):
    canvases = FashionCanvases(40, image_size, folder=folder)
    assert canvases.labels.tolist() == [index % 10 for index in range(40)]
    assert canvases.classes[9] == "ankle boot"
    sides = []
    for item in canvases:
        image, mask, (x0, y0, x1, y1) = item["image"], item["mask"], item["box"].tolist()
        assert image.shape == (3, image_size, image_size)
        assert 0 <= image.min() <= image.max() <= 1
        rows, columns = np.nonzero(mask.numpy())
        assert [x0, y0, x1, y1] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert mask[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].all()
        rows, columns = where_the_garment_is(item["label"])
        width, height = columns.stop - columns.start, rows.stop - rows.start
        assert abs((y1 - y0) - (x1 - x0) * height / width) <= 2
        sides.append(28 * (x1 - x0) / width / image_size)
        inside = image[:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
        torch.testing.assert_close(
            inside, torch.full_like(inside, brightness_of_the_garment(item["label"]) / 255), atol=1 / 255, rtol=0
        )
    assert 0.4 < min(sides) < 0.5 < 0.65 < max(sides) < 0.78


def test_garments_are_anywhere_among_scraps_and_clouds(folder):
    canvases = FashionCanvases(300, folder=folder)
    outside = canvases.images[:, 0].float().masked_fill(canvases.masks, 0) / 255
    assert (outside.amax(dim=(1, 2)) > 0.39).float().mean() > 0.9  # clouds are darker than garments
    assert ((outside > 0) & (outside < 0.38)).flatten(1).float().mean() > 0.3
    centres = canvases.boxes.float().view(-1, 2, 2).mean(1)
    assert (centres.std(0) > 5).all()
    assert abs(float(centres[:, 0].mean()) - 32) < 2


def test_a_pixel_of_a_picture_lies_where_bilinear_sampling_puts_it():
    """At exactly twice its size, each canvas pixel is three quarters of the nearest and a quarter of the next one."""
    from lightning_xai.datasets.canvases import NUM_DRAWN, paste_on_canvases

    picture = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.2
    drawn = torch.zeros(1, NUM_DRAWN)
    drawn[0, -3:] = torch.tensor([0.999, 0.5, 0.25])  # the largest side is .72 of 78: 56; 22 pixels are left
    canvas, mask = paste_on_canvases(picture, torch.zeros(1, 28, 28, dtype=torch.uint8), drawn, 78)
    y, x = int(0.5 * 23), int(0.25 * 23)
    assert mask[0, y : y + 56, x : x + 56].all()
    assert mask.sum() == 56 * 56
    for row, column in [(10, 21), (31, 30), (44, 7)]:
        expected = 0.0
        for near_y, weight_y in ((row // 2, 0.75), (row // 2 + (1 if row % 2 else -1), 0.25)):
            for near_x, weight_x in ((column // 2, 0.75), (column // 2 + (1 if column % 2 else -1), 0.25)):
                expected += weight_y * weight_x * float(picture[0, near_y, near_x])
        assert float(canvas[0, y + row, x + column]) == pytest.approx(expected, abs=1e-5)


class TestRandomness:
    @pytest.mark.parametrize("num_images", [1, 255, 257])
    def test_a_short_data_set_is_the_beginning_of_a_long_one(self, folder, num_images):
        assert_same(FashionCanvases(num_images, folder=folder), FashionCanvases(folder=folder), num_images)

    def test_places_depend_on_seed_and_split(self, folder):
        first, again, other = (FashionCanvases(20, folder=folder, seed=seed) for seed in (0, 0, 1))
        assert_same(first, again, 20)
        test = FashionCanvases(20, train=False, folder=folder)
        assert torch.equal(first.labels, test.labels)
        for one in (other, test):
            assert (one.boxes != first.boxes).any(1).all()

    def test_global_random_state_is_neither_read_nor_changed(self, folder):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = FashionCanvases(8, folder=folder)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert_same(first, FashionCanvases(8, folder=folder), 8)


def test_batches_and_copies(folder):
    canvases = FashionCanvases(train=False, image_size=40, folder=str(folder))
    batch = next(iter(DataLoader(canvases, batch_size=20)))
    assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
        "image": (torch.float32, (20, 3, 40, 40)),
        "label": (torch.int64, (20,)),
        "mask": (torch.bool, (20, 40, 40)),
        "box": (torch.int64, (20, 4)),
    }
    assert len(canvases) == 20
    item = canvases[3]
    for key in ("image", "mask", "box"):
        item[key].zero_()
    assert_same(canvases, FashionCanvases(20, 40, train=False, folder=folder), 20)
    assert_same(pickle.loads(pickle.dumps(canvases)), canvases, 20)


def test_files_may_be_unpacked(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    assert_same(FashionCanvases(12, folder=tmp_path), FashionCanvases(12, folder=folder), 12)


def test_without_files_it_says_how_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist") as caught:
        FashionCanvases(train=False, folder=tmp_path)
    for told in (f"{tmp_path} has no t10k-images-idx3-ubyte(.gz)", "download=True", "folder='data/FashionMNIST/raw'"):
        assert told in str(caught.value)


def test_wrong_arguments(folder):
    for arguments, error, told in [
        ({"image_size": 16}, ValueError, "`image_size` to be"),
        ({"image_size": 64.0}, TypeError, "`image_size` to be a whole number"),
        ({"num_images": 0}, ValueError, "`num_images`"),
        ({"num_images": 301}, ValueError, "at most 300.*train=True, but got 301"),
        ({"seed": -1}, ValueError, "`seed`"),
    ]:
        with pytest.raises(error, match=told):
            FashionCanvases(**{"folder": folder, **arguments})


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (np.full((3, 28, 28), 99, np.uint8), [0, 1], "and 2 labels"),
        (np.full((3, 28, 28), 99, np.int16), [0, 1, 2], "int16"),
        (np.full((3, 28), 99, np.uint8), [0, 1, 2], r"\(3, 28\)"),
        (np.full((3, 28, 28), 99, np.uint8), [0, 1, 10], "below 10.*got 10"),
        (np.zeros((3, 28, 28), np.uint8), [0, 1, 2], "black all over"),
    ],
    ids=["numbers", "type", "axes", "classes", "black"],
)
def test_files_that_do_not_fit(tmp_path, images, labels, told):
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array(labels, np.uint8))
    with pytest.raises(ValueError, match=told):
        FashionCanvases(folder=tmp_path)
