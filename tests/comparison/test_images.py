"""Where images come from, and what a folder of them gives."""

import lightning as L
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from lightning_xai import Sample, ShapesDataset
from lightning_xai.comparison import ImageFolder
from lightning_xai.comparison.images import data_by_name, images_of
from lightning_xai.comparison.transforms.transformed_images import transformed
from lightning_xai.datasets.readers.framing import IMAGENET_MEAN, IMAGENET_STD
from tests.comparison._made import IMAGES, marked_images


class Module(L.LightningDataModule):
    def setup(self, stage):
        assert stage == "validate"
        self.data = TensorDataset(IMAGES, torch.arange(4))

    def val_dataloader(self):
        return [DataLoader(self.data, batch_size=3), DataLoader(self.data, batch_size=2)]


def few_shapes():
    return ShapesDataset(3)


def keys(source, **arguments):
    return images_of(source, **arguments).probe.keys


def test_every_source_gives_the_same_images_in_order():
    expected = keys(marked_images())
    dataset = TensorDataset(IMAGES, torch.arange(4))
    assert len(set(expected)) == 4
    assert keys(dataset) == keys(DataLoader(dataset, batch_size=3)) == expected
    assert keys([(image, place) for place, image in enumerate(IMAGES)]) == expected
    assert keys(lambda: dataset) == expected
    assert keys(Module()) == expected * 2


def test_a_class_path_and_names():
    assert keys(f"{__name__}.few_shapes") == keys(ShapesDataset(3))
    named = data_by_name([ShapesDataset(2), f"{__name__}.few_shapes", DataLoader(TensorDataset(IMAGES))])
    assert list(named) == ["shapes", "few_shapes", "tensor_dataset"]


def test_a_reader_of_batches():
    def read(batch):
        return Sample(batch["x"].unsqueeze(1), batch["y"])

    data = [{"x": image[0], "y": 3} for image in IMAGES]
    found = images_of(data, read=read)
    assert found.probe.labels == [3] * 4
    with pytest.raises(TypeError, match=r"^Expected `sample_from_batch` to return a Sample, but got Tensor"):
        images_of(data, read=lambda batch: batch["x"])


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("no_folder", ValueError, "^Expected `data` to be a folder of images, or the path of a class"),
        (3, TypeError, "^Expected `data` to be a Sample, a dataset, a loader"),
        (TensorDataset(IMAGES[:0]), ValueError, "^Expected `data` to hold at least one image"),
    ],
    ids=["no folder", "a number", "no images"],  # the same in every process of the tests
)
def test_what_is_no_data(source, error, text):
    with pytest.raises(error, match=text):
        images_of(source)


def test_transforms_see_batches_of_one_size_and_keep_keys():
    data = [{"image": torch.rand(3, side, 8), "label": 0} for side in (8, 9, 8)]
    images = images_of(data)
    sizes = []

    def noisy(sample):
        sizes.append(tuple(sample.images.shape))
        return Sample(sample.images + torch.rand_like(sample.images), sample.labels)

    state = torch.get_rng_state()
    changed, again = transformed(images, noisy), transformed(images, noisy)
    assert torch.equal(torch.get_rng_state(), state)
    assert sizes[:2] == [(2, 3, 8, 8), (1, 3, 9, 8)]
    assert changed.probe.keys == images.probe.keys
    pairs = list(zip(changed.probe.items, again.probe.items, images.probe.items, strict=True))
    assert all(torch.equal(a.image, b.image) and not torch.equal(a.image, c.image) for a, b, c in pairs)
    with pytest.raises(TypeError, match=r"^Expected a transform to return a Sample, but got Tensor"):
        transformed(images, lambda sample: sample.images)
    with pytest.raises(ValueError, match=r"^Expected a transform to keep 2 images, but got 1"):
        transformed(images, lambda sample: Sample(sample.images[:1]))


def picture(path, size=(40, 30), colour=(255, 0, 0), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


class TestFolder:
    def test_classes_and_values(self, tmp_path):
        picture(tmp_path / "val" / "dog" / "b.png", colour=(0, 255, 0))
        picture(tmp_path / "val" / "cat" / "deep" / "a.jpg", size=(30, 50))
        (tmp_path / "val" / "notes.txt").write_text("no image")
        folder = ImageFolder(tmp_path / "val", image_size=16)
        assert folder.classes == ("cat", "dog")
        assert [(item["id"], item["label"]) for item in folder] == [("cat/deep/a.jpg", 0), ("dog/b.png", 1)]
        green = folder[1]["image"]
        assert green.shape == (3, 16, 16)
        expected = (torch.tensor([0.0, 1.0, 0.0]) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        torch.testing.assert_close(green, expected[:, None, None].expand(3, 16, 16))
        assert images_of(tmp_path / "val").probe.labels == [0, 1]
        assert data_by_name(str(tmp_path / "val")).keys() == {"val"}

    def test_the_centre_of_the_resized_image(self, tmp_path):
        """A wide image, black but for its middle third: beside torchvision's resize and crop."""
        from torchvision.transforms.v2 import functional as F

        pixels = torch.zeros(3, 28, 84)
        pixels[:, :, 28:56] = 1.0
        Image.fromarray((pixels.permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "a.png")
        found = ImageFolder(tmp_path, image_size=14, mean=(0, 0, 0), std=(1, 1, 1))[0]
        expected = F.center_crop(F.resize(pixels, [16], antialias=True), [14])
        torch.testing.assert_close(found["image"], expected, atol=1e-5, rtol=0)
        assert "label" not in found

    def test_masks_are_cut_as_the_images(self, tmp_path):
        picture(tmp_path / "val" / "cat" / "a.jpg", size=(84, 28))
        picture(tmp_path / "val" / "cat" / "b.jpg", size=(84, 28))
        mask = Image.new("L", (84, 28), 0)
        mask.paste(255, (42, 0, 84, 28))  # the right half
        (tmp_path / "val_masks" / "cat").mkdir(parents=True)
        mask.save(tmp_path / "val_masks" / "cat" / "a.png")
        first, second = ImageFolder(tmp_path / "val", image_size=14)
        assert first["mask"].sum() == 14 * 7
        assert bool(first["mask"][:, 7:].all())
        assert second["mask"].sum() == 0
        assert images_of(tmp_path / "val").known == {"masks"}
        mask.resize((20, 20)).save(tmp_path / "val_masks" / "cat" / "a.png")
        with pytest.raises(ValueError, match=r"to have the size of its image, \(28, 84\), but got \(20, 20\)"):
            _ = ImageFolder(tmp_path / "val")[0]

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(ValueError, match=r"^Expected `root` to hold images"):
            ImageFolder(tmp_path)
