"""Tiny folders in the layouts of data sets: classes, boxes and masks by hand, before and after the picture is cut."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_xai.datasets import ChestXray14Dataset, CocoDataset, Framing, IlsvrcDataset, ImageFolder, VocDataset
from lightning_xai.datasets.readers.coco_masks import mask_of_segmentation
from lightning_xai.probing import sample_from_batch

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
WHOLE = Framing(image_size=None, **PLAIN)
NAN = [float("nan")] * 4


def picture(path, size, red=()):
    """Write a black picture of a width and height, red in boxes x0, y0, x1, y1 with exclusive ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for x0, y0, x1, y1 in red:
        pixels[y0:y1, x0:x1, 0] = 255
    Image.fromarray(pixels).save(path)


def annotation(path, objects):
    """Write an annotation as VOC does; objects: name, xmin, ymin, xmax, ymax and what else stands there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = "".join(
        f"<object><name>{name}</name>{more}<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1, more in objects
    )
    path.write_text(f"<annotation><size><width>9</width></size>{told}</annotation>")


def same(found, expected):
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)


class TestFraming:
    def test_a_box_follows_the_pixels(self, tmp_path):
        """Red pixels of the cut image are where its box says, for boxes inside, cut, and outside the square."""
        framing = Framing(image_size=32, short_side=40, **PLAIN)
        for box in [(60, 30, 90, 50), (20, 10, 60, 40), (0, 60, 160, 80), (150, 0, 160, 80)]:
            picture(tmp_path / "a.png", (160, 80), [box])  # twice as large as resized: 80 × 40, cut at 24 and 4
            image = framing.image(torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1))
            (framed,) = framing.boxes(torch.tensor([box]), (80, 160)).tolist()
            red = (image[0] > 0.5).nonzero()
            if not len(red):
                assert framed == pytest.approx(NAN, nan_ok=True)
                continue
            y0, x0, y1, x1 = *red.amin(0).tolist(), *(red.amax(0) + 1).tolist()
            assert framed == [x0, y0, x1, y1]
            assert framed == [
                *(max(0, box[0] / 2 - 24), max(0, box[1] / 2 - 4)),
                *(min(32, box[2] / 2 - 24), min(32, box[3] / 2 - 4)),
            ]
            mask = torch.zeros(80, 160, dtype=torch.bool)
            mask[box[1] : box[3], box[0] : box[2]] = True
            assert torch.equal(framing.masks(mask), image[0] > 0.5)
            assert torch.equal(framing.masks(mask.expand(2, -1, -1))[1], image[0] > 0.5)

    def test_as_torchvision_does(self):
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        boxes = torch.tensor([[3.0, 5.0, 70.0, 33.0], [40.0, 2.0, 99.0, 41.0], [45.0, 20.0, 60.0, 30.0]])
        wrapped = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(60, 100))
        expected = v2.CenterCrop(28)(v2.Resize(32)(wrapped)).as_subclass(torch.Tensor)
        found = Framing(28, 32).boxes(boxes, (60, 100))
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)

    def test_when_a_box_is_dropped(self):
        boxes = torch.tensor([[0.0, 0.0, 40.0, 20.0], [0.0, 0.0, 11.0, 20.0], [0.0, 0.0, 10.5, 20.0]])
        framing = Framing(20, 20, **PLAIN)  # of a picture 40 wide: from 10 to 30
        same(framing.boxes(boxes, (20, 40)), [[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 1.0, 20.0], NAN])
        half = Framing(20, 20, least_visible=0.5)
        same(half.boxes(boxes, (20, 40)), [[0.0, 0.0, 20.0, 20.0], NAN, NAN])
        same(WHOLE.boxes(torch.tensor([[30.0, 5.0, 50.0, 30.0]]), (20, 40)), [[30.0, 5.0, 40.0, 20.0]])

    def test_wrong_arguments(self):
        for arguments, told in [
            ({"image_size": 0}, "`image_size`"),
            ({"image_size": 8, "short_side": 7}, "`short_side`"),
            ({"least_visible": 2}, "`least_visible` to be at most 1"),
        ]:
            with pytest.raises(ValueError, match=told):
                Framing(**arguments)


@pytest.fixture
def voc(tmp_path):
    """Two pictures: a dog beside a large person and a difficult cat; a cat whose picture is wide."""
    picture(tmp_path / "JPEGImages" / "01.jpg", (40, 40))
    picture(tmp_path / "JPEGImages" / "02.jpg", (80, 40))
    dog = ("dog", 1, 1, 10, 20, "<difficult>0</difficult>")
    hard = ("cat", 5, 5, 8, 8, "<difficult>1</difficult>")
    annotation(tmp_path / "Annotations" / "01.xml", [dog, hard, ("person", 11, 3, 40, 40, "")])
    annotation(tmp_path / "Annotations" / "02.xml", [("cat", 1, 1, 30, 40, ""), ("dog", 71, 1, 80, 10, "")])
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("01\n02\n")
    (tmp_path / "ImageSets" / "Main" / "dog_val.txt").write_text("01  1\n02 -1\n")
    return tmp_path


class TestVoc:
    def test_pixels_count_from_one(self, voc):
        first, second = VocDataset(voc, classes=("cat", "dog", "person"), framing=WHOLE)
        same(first["boxes"], [[0.0, 0.0, 10.0, 20.0], [10.0, 2.0, 40.0, 40.0]])
        assert (first["id"], first["label"].tolist()) == ("01", [0, 1, 1])
        assert first["box_labels"].tolist() == [1, 2]
        assert second["box_labels"].tolist() == [0, 1]

    def test_boxes_are_cut_with_the_picture(self, voc):
        """Resized to 20 × 40 and cut at 10: the cat's box reaches to 15, so to 5; nothing is left of the dog's."""
        _, second = VocDataset(voc, label_as="largest", framing=Framing(20, 20, **PLAIN))
        same(second["boxes"], [[0.0, 0.0, 5.0, 20.0], NAN])
        assert second["box_labels"].tolist() == [7, -1]
        assert second["label"] == 7

    def test_the_largest_object_and_difficult_ones(self, voc):
        named = VocDataset(voc, label_as="largest", framing=WHOLE)
        assert [named.classes[label] for label in named.labels] == ["person", "cat"]
        hard = VocDataset(voc, difficult=True, classes=["cat"], framing=WHOLE)
        same(hard[0]["boxes"], [[4.0, 4.0, 8.0, 8.0]])
        assert VocDataset(voc, classes=["cat"], label_as="largest").labels == [-1, 0]

    def test_lists_of_a_class(self, voc):
        assert [item["id"] for item in VocDataset(voc, "dog_val")] == ["01"]

    def test_batches_are_read(self, voc):
        sample = sample_from_batch(next(iter(DataLoader(VocDataset(voc, framing=Framing(20)), batch_size=2))))
        assert sample.labels.shape == (2, 20)
        assert sample.boxes.shape == (2, 2, 4)
        assert sample.box_labels.tolist() == [[11, 14], [7, -1]]
        assert sample.ids == ("01", "02")

    def test_what_is_missing(self, voc):
        with pytest.raises(FileNotFoundError, match=r"no train\.txt. There are: dog_val, val"):
            VocDataset(voc, "train")
        (voc / "Annotations" / "02.xml").write_text("<annotation><object/></annotation>")
        with pytest.raises(ValueError, match=r"02\.xml to be an annotation"):
            VocDataset(voc)
        (voc / "Annotations" / "02.xml").unlink()
        with pytest.raises(FileNotFoundError, match="an annotation of each picture of 'val'"):
            VocDataset(voc)


@pytest.fixture
def coco(tmp_path):
    """A zebra by a polygon and a crowd of zebras by runs beside a sign; a sign by a triangle; a picture of nothing."""
    for number, size in [(1, (8, 6)), (2, (6, 6)), (3, (6, 6))]:
        picture(tmp_path / "val" / f"{number}.jpg", size)
    square = {"segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]], "bbox": [1, 1, 3, 2], "iscrowd": 0}
    # column by column, of six pixels each: one column outside, then the sixth column's pixels 2 and 3
    crowd = {"segmentation": {"size": [6, 8], "counts": [32, 2, 14]}, "bbox": [5, 2, 1, 2], "iscrowd": 1}
    small = {"segmentation": [[6, 0, 7, 0, 7, 1, 6, 1]], "bbox": [6, 0, 1, 1]}
    triangle = {"segmentation": [[0, 0, 6, 0, 0, 6]], "bbox": [0, 0, 6, 6]}
    annotations = [
        {"image_id": 1, "category_id": 24, **square},
        {"image_id": 1, "category_id": 24, **crowd},
        {"image_id": 1, "category_id": 13, **small},
        {"image_id": 2, "category_id": 13, **triangle},
    ]
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in (2, 1, 3)],
        "annotations": annotations,
        "categories": [{"id": 24, "name": "zebra"}, {"id": 13, "name": "stop sign"}, {"id": 90, "name": "brush"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path / "val", tmp_path / "instances.json"


class TestCoco:
    def test_all_categories(self, coco):
        data = CocoDataset(*coco, framing=WHOLE)
        assert data.classes == ("stop sign", "zebra", "brush")
        assert [item["id"] for item in data] == ["1.jpg", "2.jpg", "3.jpg"]
        assert [label.tolist() for label in data.labels] == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]
        first = data[0]
        same(first["boxes"], [[1.0, 1.0, 4.0, 3.0], [5.0, 2.0, 6.0, 4.0], [6.0, 0.0, 7.0, 1.0]])
        assert first["box_labels"].tolist() == [1, 1, 0]
        assert first["mask"][0].nonzero().tolist() == [[0, 6]]
        zebras = [*[[1, x] for x in (1, 2, 3)], [2, 1], [2, 2], [2, 3], [2, 5], [3, 5]]
        assert first["mask"][1].nonzero().tolist() == zebras
        assert not first["mask"][2].any()
        same(data[2]["boxes"], [NAN] * 3)

    def test_some_categories_as_classes_of_a_network(self, coco):
        settings = {"categories": ["zebra", "stop sign"], "label_as": "largest", "framing": WHOLE}
        data = CocoDataset(*coco, class_index={"zebra": 340, "stop sign": 919}, **settings)
        first, second = data
        assert (first["label"], second["label"]) == (340, 919)
        assert first["box_labels"].tolist() == [340, 340, 919]
        assert first["mask"].sum() == 6 + 2  # of the label's class alone
        # centres x + .5, y + .5 below the diagonal x + y = 6
        assert second["mask"].tolist() == [[x + y + 1 < 6 for x in range(6)] for y in range(6)]
        assert CocoDataset(*coco, **settings).labels == [0, 1]

    def test_masks_and_boxes_are_cut_with_the_picture(self, coco):
        framing = Framing(6, 6, **PLAIN)  # of the first, columns 1 to 6
        item = CocoDataset(*coco, categories=["zebra"], label_as="largest", framing=framing)[0]
        same(item["boxes"], [[0.0, 1.0, 3.0, 3.0], [4.0, 2.0, 5.0, 4.0]])
        expected = [*[[1, x] for x in (0, 1, 2)], [2, 0], [2, 1], [2, 2], [2, 4], [3, 4]]
        assert item["mask"].nonzero().tolist() == expected

    def test_batches_are_read(self, coco):
        batch = next(iter(DataLoader(CocoDataset(*coco, framing=Framing(6, **PLAIN)), batch_size=3)))
        sample = sample_from_batch(batch)
        assert sample.class_masks.shape == (3, 3, 6, 6)
        assert sample.masks.flatten(1).any(1).tolist() == [True, True, False]

    def test_compressed_runs(self):
        """Numbers below 16 are one character each, from "0"; later ones are differences to the one before the last."""
        plain = mask_of_segmentation({"size": [4, 5], "counts": [2, 3, 4, 5, 6]}, (4, 5))
        # 2, 3, 4 − 0; the fourth minus the second: 2, the fifth minus the third: 2
        text = "".join(chr(48 + one) for one in (2, 3, 4, 2, 2))
        assert torch.equal(plain, mask_of_segmentation({"size": [4, 5], "counts": text}, (4, 5)))
        # 100 = 4 + 3 · 32: its last five bits with the sign that more follows, then the rest; 5 − 100 is negative
        long = mask_of_segmentation({"size": [10, 21], "counts": [100, 5, 100, 5]}, (10, 21))
        text = chr(48 + 4 + 32) + chr(48 + 3) + chr(48 + 5) + chr(48 + 4 + 32) + chr(48 + 3) + chr(48)
        assert torch.equal(long, mask_of_segmentation({"size": [10, 21], "counts": text}, (10, 21)))
        down = mask_of_segmentation({"size": [10, 2], "counts": [1, 9, 8, 2]}, (10, 2))
        text = chr(49) + chr(48 + 9) + chr(48 + 8) + chr(48 + (-7 & 0x1F))
        assert torch.equal(down, mask_of_segmentation({"size": [10, 2], "counts": text}, (10, 2)))

    def test_wrong_arguments(self, coco, tmp_path):
        with pytest.raises(ValueError, match=r"no 'zebras'\. Did you mean 'zebra'"):
            CocoDataset(*coco, categories=["zebras"])
        with pytest.raises(ValueError, match="`class_index` with label_as='largest' only"):
            CocoDataset(*coco, class_index={"zebra": 1})
        with pytest.raises(ValueError, match="a class for every category, but 'stop sign' has none"):
            CocoDataset(*coco, label_as="largest", class_index={"zebra": 1, "brush": 2})
        for broken, told in [
            ({"size": [6, 8], "counts": [40]}, "sum to 40"),
            ({"size": [8, 6], "counts": [48]}, r"a picture of \(6, 8\), but got \(8, 6\)"),
            ("zebra", "polygons or run lengths"),
        ]:
            with pytest.raises(ValueError, match=told):
                mask_of_segmentation(broken, (6, 8))
        (tmp_path / "other.json").write_text("[]")
        with pytest.raises(ValueError, match="to hold images, annotations and categories"):
            CocoDataset(coco[0], tmp_path / "other.json")


class TestIlsvrc:
    @pytest.fixture
    def root(self, tmp_path):
        for number, synset, box in [
            (1, "n02", (0, 0, 99, 49)),
            (2, "n01", (40, 10, 59, 29)),
            (3, "n02", (0, 0, 9, 49)),
        ]:
            name = f"ILSVRC2012_val_{number:08d}"
            picture(tmp_path / "val" / f"{name}.JPEG", (100, 50))
            annotation(tmp_path / "bbox" / "val" / f"{name}.xml", [(synset, *box, "")])
        return tmp_path

    def test_classes_are_sorted_synsets_and_pixels_count_from_zero(self, root):
        data = IlsvrcDataset(root / "val", root / "bbox", framing=WHOLE)
        assert data.classes == ("n01", "n02")
        assert [(item["id"][-1], item["label"], item["box_labels"].tolist()) for item in data] == [
            ("1", 1, [1]),
            ("2", 0, [0]),
            ("3", 1, [1]),
        ]
        same(data[0]["boxes"], [[0.0, 0.0, 100.0, 50.0]])
        same(data[1]["boxes"], [[40.0, 10.0, 60.0, 30.0]])

    def test_boxes_are_cut_as_networks_are_validated(self, root):
        """50 pixels become 256, of which the middle 224 are seen: 5.12 per pixel, from 144 on and from 16 on."""
        first, second, third = IlsvrcDataset(root / "val", root / "bbox")
        same(first["boxes"], [[0.0, 0.0, 224.0, 224.0]])
        same(second["boxes"], [[40 * 5.12 - 144, 10 * 5.12 - 16, 60 * 5.12 - 144, 30 * 5.12 - 16]])
        same(third["boxes"], [NAN])
        assert third["box_labels"].tolist() == [-1]

    def test_synsets_of_a_file_or_of_folders(self, root):
        (root / "synsets.txt").write_text("n03 fish\nn00 bird, fowl\nn02 dog\nn01 cat\n")
        data = IlsvrcDataset(root / "val", root / "bbox", root / "synsets.txt")
        assert data.labels == [2, 1, 2]
        picture(root / "train" / "n07" / "a.JPEG", (8, 8))
        picture(root / "train" / "n05" / "b.JPEG", (8, 8))
        folders = IlsvrcDataset(root / "train")
        assert [(item["id"], item["label"]) for item in folders] == [("b", 0), ("a", 1)]
        assert "boxes" not in folders[0]

    def test_what_is_missing(self, root, tmp_path):
        with pytest.raises(ValueError, match=r"class of ILSVRC2012_val_00000001\.JPEG to be known"):
            IlsvrcDataset(root / "val")
        (root / "synsets.txt").write_text("n01\n")
        with pytest.raises(ValueError, match="one of the 1 synsets, but it is n02"):
            IlsvrcDataset(root / "val", root / "bbox", root / "synsets.txt")
        with pytest.raises(ValueError, match="`images` to hold pictures"):
            IlsvrcDataset(tmp_path / "bbox")


class TestChestXray14:
    @pytest.fixture
    def root(self, tmp_path):
        rows = [("1_0.png", "Effusion|Infiltration", 1), ("1_1.png", "No Finding", 1), ("2_0.png", "Infiltration", 2)]
        for folder, (name, _, _) in zip(("images_001", "images_001", "images_002"), rows, strict=True):
            (tmp_path / folder / "images").mkdir(parents=True, exist_ok=True)
            Image.new("L", (64, 64), 128).save(tmp_path / folder / "images" / name)
        lines = [f"{name},{findings},0,{patient},58,M,PA,64,64,.1,.1," for name, findings, patient in rows]
        head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
        head += ",OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
        (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([head, *lines, "9_9.png,Mass,0,9,1,F,AP,1,1,1,1,"]))
        boxes = ["1_0.png,Infiltrate,8.5,16.0,20.0,10.0,,,", "1_0.png,Effusion,0.0,48.0,32.0,16.0,,,"]
        (tmp_path / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *boxes]))
        (tmp_path / "test_list.txt").write_text("1_0.png\n1_1.png\n")
        return tmp_path

    def test_findings_boxes_and_patients(self, root):
        data = ChestXray14Dataset(root, framing=WHOLE)
        assert [item["id"] for item in data] == ["1_0.png", "1_1.png", "2_0.png"]
        assert data.groups == ["1", "1", "2"]
        first = data[0]
        same(first["boxes"], [[8.5, 16.0, 28.5, 26.0], [0.0, 48.0, 32.0, 64.0]])
        assert [data.classes[place] for place in first["box_labels"]] == ["Infiltration", "Effusion"]
        assert [[data.classes[place] for place in label.nonzero()] for label in data.labels] == [
            ["Effusion", "Infiltration"],
            [],
            ["Infiltration"],
        ]
        assert first["image"].shape == (3, 64, 64)
        sample = sample_from_batch(next(iter(DataLoader(data, batch_size=3))))
        assert sample.boxes.isnan().all((1, 2)).tolist() == [False, True, True]

    def test_one_finding(self, root):
        data = ChestXray14Dataset(root, "Effusion", boxed=True, framing=Framing(32, 32, **PLAIN))
        (item,) = data
        assert (item["label"], item["box_labels"].tolist(), item["group"]) == (1, [1], "1")
        same(item["boxes"], [[0.0, 24.0, 16.0, 32.0]])
        assert data.classes == ("no Effusion", "Effusion")
        assert ChestXray14Dataset(root, "Effusion", "test").labels == [1, 0]

    def test_wrong_arguments(self, root):
        with pytest.raises(ValueError, match="Did you mean 'Effusion'"):
            ChestXray14Dataset(root, "effusion")
        with pytest.raises(FileNotFoundError, match=r"train_val_list\.txt"):
            ChestXray14Dataset(root, split="train")
        (root / "test_list.txt").write_text("none.png")
        with pytest.raises(ValueError, match="none that counts is there"):
            ChestXray14Dataset(root, split="test")


class TestImageFolder:
    @pytest.fixture
    def root(self, tmp_path):
        for place in ("cat/p1_a.png", "cat/p2_a.png", "dog/p1_b.png"):
            picture(tmp_path / "val" / place, (40, 20))
        annotation(
            tmp_path / "val_boxes" / "cat" / "p1_a.xml", [("lesion", 11, 1, 30, 20, ""), ("dog", 1, 1, 5, 5, "")]
        )
        return tmp_path / "val"

    def test_boxes_beside_the_folder(self, root):
        first, second, _ = ImageFolder(root, image_size=14, **PLAIN)  # 16 × 32, of which the middle 14
        same(first["boxes"], [[0.0, 0.0, 14.0, 14.0], NAN])
        assert first["box_labels"].tolist() == [0, -1]
        same(second["boxes"], [NAN, NAN])
        whole = ImageFolder(root, image_size=None, **PLAIN)[0]
        same(whole["boxes"], [[10.0, 0.0, 30.0, 20.0], [0.0, 0.0, 5.0, 5.0]])
        assert whole["box_labels"].tolist() == [0, 1]

    def test_groups_by_a_pattern_or_a_mapping(self, root):
        assert ImageFolder(root, groups=r"/(p\d)_").groups == ["p1", "p2", "p1"]
        lesions = {"p1_a": "x", "cat/p2_a.png": "y", "dog/p1_b": "z"}
        assert [item["group"] for item in ImageFolder(root, groups=lesions)] == ["x", "y", "z"]
        with pytest.raises(ValueError, match=r"with a group in brackets.*not that of cat/p1_a\.png"):
            ImageFolder(root, groups=r"p\d")
        with pytest.raises(ValueError, match="a mapping"):
            ImageFolder(root, groups={})
