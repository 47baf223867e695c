import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_xai.datasets import PastedPhotographs, SamplePhotographs
from lightning_xai.datasets.photographs import packaged
from lightning_xai.datasets.photographs.cutouts import OUTLINES, Cutout, cut_out
from lightning_xai.datasets.photographs.packaged import PHOTOGRAPHS, TEXTURES, read_packaged
from lightning_xai.datasets.photographs.pasted_photographs import _pasted


class TestPackaged:
    def test_files_are_what_the_packages_themselves_read(self):
        from skimage import data
        from sklearn.datasets import load_sample_image

        for name, pixels in [
            ("chelsea", data.chelsea()),
            ("coffee", data.coffee()),
            ("motorcycle", data.stereo_motorcycle()[0]),
            ("china", load_sample_image("china.jpg")),
        ]:
            assert torch.equal(read_packaged(name), torch.tensor(pixels).permute(2, 0, 1)), name
        assert torch.equal(read_packaged("camera")[1], torch.tensor(data.camera()))
        assert torch.equal(read_packaged("grass")[2], torch.tensor(data.grass()))

    def test_every_file_is_there(self):
        assert all(read_packaged(name).shape[0] == 3 for name in {**PHOTOGRAPHS, **TEXTURES})

    def test_labels_are_the_classes_of_torchvision(self):
        from torchvision.models import ResNet50_Weights

        names = ResNet50_Weights.DEFAULT.meta["categories"]
        told = {name: names[one.label] for name, one in PHOTOGRAPHS.items() if one.label >= 0}
        assert told == {
            "chelsea": "Egyptian cat",
            "coffee": "espresso",
            "rocket": "missile",
            "motorcycle": "moped",
            "china": "palace",
            "grace_hopper": "military uniform",
            "camera": "tripod",
        }

    def test_a_package_that_is_missing_is_named(self, monkeypatch):
        monkeypatch.setattr(packaged, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r"Expected sklearn.*'china'.*pip install 'lightning-xai\[stud"):
            SamplePhotographs(names=["china"])

    def test_a_file_that_is_missing_is_named(self, monkeypatch):
        monkeypatch.setitem(packaged.PHOTOGRAPHS, "china", packaged.Packaged("sklearn/datasets/images/japan.jpg"))
        with pytest.raises(FileNotFoundError, match=r"Expected sklearn to bring.*japan\.jpg"):
            read_packaged("china")

    def test_packages_are_not_imported(self, monkeypatch):
        for name in [one for one in sys.modules if one.partition(".")[0] == "skimage"]:
            monkeypatch.delitem(sys.modules, name)
        read_packaged("coffee")
        assert "skimage" not in sys.modules


class TestSamplePhotographs:
    def test_the_middle_as_torchvision_cuts_it(self):
        from torchvision.transforms.v2 import functional as F

        found = SamplePhotographs(224, ["chelsea"])[0]["image"]  # 451 × 300: .875 of 300 is 262.5
        pixels = read_packaged("chelsea").float() / 255
        expected = F.resize(F.center_crop(pixels, [262, 262]), [224, 224], antialias=True)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    def test_squares_lie_within_the_photograph(self, monkeypatch):
        ramp = torch.arange(200.0).expand(3, 100, 200).to(torch.uint8)
        monkeypatch.setattr("lightning_xai.datasets.photographs.sample_photographs.read_packaged", lambda name: ramp)
        squares = SamplePhotographs(64, ["china"], num_squares=3, share=0.8)
        assert squares.ids == ("china-0", "china-1", "china-2")
        middle, left, right = (255 * torch.stack([one["image"] for one in squares])[:, 0].mean((1, 2))).tolist()
        assert (middle, left, right) == pytest.approx((99.5, 39.5, 159.5), abs=0.1)

    def test_all_in_batches(self):
        photographs = SamplePhotographs(32)
        batch = next(iter(DataLoader(photographs, batch_size=13)))
        assert batch["id"] == list(PHOTOGRAPHS)
        assert batch["label"].tolist() == [one.label for one in PHOTOGRAPHS.values()] == photographs.labels.tolist()
        assert batch["image"].shape == (13, 3, 32, 32)
        photographs[0]["image"].zero_()
        assert photographs[0]["image"].sum() > 0
        assert torch.equal(pickle.loads(pickle.dumps(photographs))[5]["image"], photographs[5]["image"])

    def test_what_is_of_no_class_is_explained_by_the_prediction(self):
        from lightning_xai import Classifier
        from lightning_xai.probing.batches import sample_from_batch
        from lightning_xai.probing.target import case_of

        sample = sample_from_batch(next(iter(DataLoader(SamplePhotographs(8, ["chelsea", "flower"]), batch_size=2))))
        assert sample.ids == ("chelsea", "flower")
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 1000))
        with torch.no_grad():
            predicted = net(sample.images).argmax(1).tolist()
        assert case_of(Classifier(net), sample, sample.labels, "label").target.tolist() == [285, predicted[1]]

    def test_wrong_arguments(self):
        for arguments, told in [
            ({"names": ["dog"]}, "`names` to be one of"),
            ({"num_squares": 4}, "at most 3"),
            ({"share": 1.5}, "`share` at most 1"),
            ({"image_size": 4}, "`image_size`"),
        ]:
            with pytest.raises(ValueError, match=told):
                SamplePhotographs(**arguments)


class TestCutouts:
    def test_masks_are_the_outlines_by_ray_casting(self):
        """Even-odd rule at centres of pixels, one edge after another."""
        for name in ("coffee", "motorcycle"):
            corners = np.array(OUTLINES[name], float)
            height, width = read_packaged(name).shape[1:]
            y, x = np.mgrid[:height, :width] + 0.5
            inside = np.zeros((height, width), bool)
            for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                crosses = (y0 > y) != (y1 > y)
                with np.errstate(divide="ignore", invalid="ignore"):
                    inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
            rows, columns = np.nonzero(inside)
            box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
            cutout = cut_out(name)
            assert np.array_equal(cutout.mask.numpy(), inside[box]), name
            assert torch.equal(cutout.pixels, read_packaged(name)[:, box[0], box[1]]), name
        assert cutout.label == 665

    def test_outlines_lie_in_their_photographs(self):
        for name, corners in OUTLINES.items():
            height, width = read_packaged(name).shape[1:]
            assert all(0 <= x < width and 0 <= y < height for x, y in corners), name
            assert 0.15 < cut_out(name).mask.float().mean() < 0.95


class TestPasted:
    def test_a_cutout_at_its_own_size_is_copied(self):
        """A 24 × 96 object on 80 pixels, 48 long: half its size; no pixel of its surroundings enters it."""
        mask = torch.zeros(24, 96, dtype=torch.bool)
        mask[4:20] = True
        pixels = torch.where(mask, 200, 7).to(torch.uint8).expand(3, -1, -1)
        image, found = _pasted(Cutout(pixels, mask, 0), torch.full((3, 80, 80), 0.5), [0.0, 0.5, 0.999, 0.9])
        top, left = int(0.5 * (80 - 12 + 1)), 32
        assert found.nonzero().amin(0).tolist() == [top + 2, left]
        assert found.nonzero().amax(0).tolist() == [top + 9, 79]
        opaque = image[:, top + 3 : top + 9, left:]
        torch.testing.assert_close(opaque, torch.full_like(opaque, 200 / 255))
        edge = image[:, top + 2, left:]  # the triangle filter's weights 1, 3, 3, 1 of eight: seven are the object's
        torch.testing.assert_close(edge, torch.full_like(edge, 7 / 8 * 200 / 255 + 0.5 / 8))
        untouched = torch.ones(80, 80, dtype=torch.bool)
        untouched[top : top + 12, left:] = False
        assert (image[:, untouched] == 0.5).all()

    def test_masks_are_where_the_image_differs_from_its_background(self, monkeypatch):
        """The same draws with an object of no colour at all, and with one of another: they differ on the mask."""
        from lightning_xai.datasets.photographs import pasted_photographs

        real = pasted_photographs._object_of
        ink = lambda value: lambda name: real(name)._replace(pixels=torch.full_like(real(name).pixels, value))  # noqa: E731
        monkeypatch.setattr(pasted_photographs, "_object_of", ink(0))
        black = list(PastedPhotographs(12, 64))
        monkeypatch.setattr(pasted_photographs, "_object_of", ink(255))
        for dark, bright in zip(black, PastedPhotographs(12, 64), strict=True):
            share = (bright["image"] - dark["image"]).mean(0)  # of the pixel's light that is the object's
            assert torch.equal(dark["mask"], share >= 0.5 - 1e-6)
            assert torch.equal(dark["mask"], bright["mask"])

    def test_items(self):
        pasted = PastedPhotographs(24, 96)
        batch = next(iter(DataLoader(pasted, batch_size=24)))
        assert {key: tuple(batch[key].shape) for key in ("image", "label", "mask", "box")} == {
            "image": (24, 3, 96, 96),
            "label": (24,),
            "mask": (24, 96, 96),
            "box": (24, 4),
        }
        assert batch["label"].tolist() == [PHOTOGRAPHS[name].label for name in OUTLINES] * 4 == pasted.labels.tolist()
        assert [one.partition("-")[2] for one in batch["id"][:6]] == list(OUTLINES)
        assert set(batch["background"]) == set(TEXTURES)
        for mask, (x0, y0, x1, y1) in zip(batch["mask"].numpy(), batch["box"].tolist(), strict=True):
            rows, columns = np.nonzero(mask)
            assert [x0, y0, x1, y1] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert 0.55 * 96 < max(x1 - x0, y1 - y0) < 0.97 * 96
        assert 0 <= batch["image"].min() <= batch["image"].max() <= 1

    def test_other_photographs_below(self):
        pasted = PastedPhotographs(30, 32, backgrounds="photographs")
        for item in pasted:
            assert item["background"] in OUTLINES
            assert item["background"] != item["id"].partition("-")[2]

    def test_an_image_depends_on_its_index_and_the_settings_alone(self):
        state = torch.get_rng_state()
        long, short = PastedPhotographs(20, 48), PastedPhotographs(9, 48)
        assert torch.equal(long[8]["image"], short[-1]["image"])
        assert torch.equal(pickle.loads(pickle.dumps(short))[8]["mask"], long[8]["mask"])
        assert not torch.equal(PastedPhotographs(9, 48, seed=1)[8]["image"], long[8]["image"])
        assert torch.equal(torch.get_rng_state(), state)
        with pytest.raises(IndexError):
            short[9]

    def test_wrong_arguments(self):
        for arguments, told in [
            ({"objects": ["rocket"]}, "`objects` to be one of"),
            ({"objects": []}, "number of objects"),
            ({"backgrounds": "grass"}, "`backgrounds` to be one of"),
            ({"image_size": 16}, "`image_size`"),
            ({"num_images": 0}, "`num_images`"),
        ]:
            with pytest.raises(ValueError, match=told):
                PastedPhotographs(**arguments)


def test_filled_polygons_hold_pixels_by_their_centres():
    from lightning_xai.datasets.pictures import filled_polygons

    mask = filled_polygons(
        [[(1, 1), (3, 1), (3, 4), (1, 4)], [(5.4, 0), (8, 0), (8, 1)], [(5, 5), (7, 5), (7, 5.4)]], (6, 8)
    )
    expected = [[0, 7], *[[row, column] for row in (1, 2, 3) for column in (1, 2)]]
    assert mask.nonzero().tolist() == expected


def test_reading_pictures(tmp_path):
    from lightning_xai.datasets.pictures import pictures_below, read_picture

    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    (tmp_path / "b").mkdir()
    Image.fromarray(pixels).save(tmp_path / "b" / "a.PNG")
    (tmp_path / "a.txt").write_text("no picture")
    (path,) = pictures_below(tmp_path)
    assert torch.equal(read_picture(path), torch.tensor(pixels).permute(2, 0, 1))
    assert read_picture(path, "L").shape == (1, 2, 3)
