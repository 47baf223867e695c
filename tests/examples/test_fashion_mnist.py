import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """The four files of Fashion-MNIST in small: bright squares on black, as many as a class's number is large."""
    data = tmp_path / "data"
    data.mkdir()
    for split, count in [("train", 48), ("t10k", 12)]:
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.zeros((count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 : 14 + label, 6:22] = 100 + 10 * label
        write_idx(data / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(data / f"{split}-labels-idx1-ubyte.gz", labels)
    return data


def write_idx(path, values):
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}i", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def test_it_trains_and_explains(example, events, folder, tmp_path):
    printed = example("fashion_mnist", "--data", str(folder), "--epochs", "1", "--limit", "36")
    run = tmp_path / "fashion_mnist" / "version_0"
    found = events(run)
    for key in ("val_accuracy", "xai/faithfulness", "xai/pointing_game", "xai/box_localization"):
        assert len(found.Scalars(key)) == 1, key
    assert len(found.Images("xai/heatmaps")) == 1
    assert Image.open(run / "heatmaps" / "epoch=00.png").height > 4 * 128  # more rows stand beside these
    assert "pointing" in printed


def test_without_data_it_says_how_to_get_them(example, tmp_path):
    with pytest.raises(SystemExit, match="apt install dataset-fashion-mnist") as caught:
        example("fashion_mnist", "--data", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "--download" in str(caught.value)


def garments(*arguments, **settings):
    from _shared.garments import GarmentsOnCanvas

    return GarmentsOnCanvas(*arguments, **settings)


@pytest.mark.usefixtures("example")
def test_canvases_know_where_the_garment_is(folder):
    canvases = garments(folder, "train", limit=40)
    assert len(canvases) == 40
    assert canvases.labels.tolist() == [index % 10 for index in range(40)]
    for item in canvases:
        image, mask, (x0, y0, x1, y1) = item["image"], item["mask"], item["box"].int().tolist()
        assert image.shape == (3, 64, 64)
        assert 0 <= image.min() <= image.max() <= 1
        assert mask[y0:y1, x0:x1].sum() == mask.sum() > 100
        assert mask[y0].any()
        assert mask[:, x1 - 1].any()
        brightness = (100 + 10 * item["label"]) / 255
        inside = image[0, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
        assert torch.allclose(inside, torch.tensor(brightness), atol=1e-5)


@pytest.mark.usefixtures("example")
def test_canvases_depend_on_the_seed_alone(folder):
    first, again, other = (garments(folder, "train", limit=8, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.masks, other.masks)


@pytest.mark.usefixtures("example")
def test_files_may_be_unpacked(folder):
    packed = garments(folder, "t10k", limit=12)
    for file in folder.iterdir():
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert torch.equal(garments(folder, "t10k", limit=12).images, packed.images)
