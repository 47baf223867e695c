"""The scale of the thesis: its archives in small, its splits, its recipes, and a run on made pictures."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch
from PIL import Image

from lightning_xai.studies import Study
from lightning_xai.studies.hirescam.everyday import EverydayImages
from lightning_xai.studies.hirescam.flips_and_rotations import FlipsAndRotations
from lightning_xai.studies.hirescam.medical import SPLITS, MedicalImages
from lightning_xai.studies.hirescam.pretrained import pretrained_flat_head
from lightning_xai.studies.networks import TRAINABLE_LAYERS, flatten_head

DX = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
TISSUES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
XRAYS = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")


def picture(path, number, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (40 * number % 256, 90, 10 * number % 256)).save(path)


def archives(root):
    """Write the four archives, with ten pictures of each class or so."""
    for name, number in product(TISSUES, range(10)):
        picture(root / "crc/NCT-CRC-HE-100K" / name / f"{name}-{number}.png", number + len(name))
        picture(root / "crc/CRC-VAL-HE-7K" / name / f"{name}-TEST.png", number)
    for name, number in product(XRAYS, range(10)):
        picture(root / "covid19" / name / "images" / f"{name}-{number}.png", number + len(name))
        picture(root / "covid19" / name / "masks" / f"{name}-{number}.png", number)
    lines = ["lesion_id,image_id,dx"]
    for (place, name), number in product(enumerate(DX), range(10)):
        lines.append(f"HAM_{place}{number // 2},ISIC_{place}{number},{name}")  # two pictures of each lesion
        picture(root / f"ham10000/HAM10000_images_part_{number % 2 + 1}/ISIC_{place}{number}.jpg", number + place)
    (root / "ham10000/HAM10000_metadata.csv").write_text("\n".join(lines))
    for label, slide, zoom in product(("benign", "malignant"), range(10), (40, 100)):
        letter = label[0].upper()
        name = f"SOB_{letter}_X-14-{slide}{letter}-{zoom}-001"
        picture(root / f"breakhis/breast/{label}/SOB/x/{zoom}X/{name}.png", slide)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return archives(tmp_path_factory.mktemp("archives"))


@pytest.mark.parametrize(
    ("name", "classes", "sizes"),
    [
        ("crc", TISSUES, (72, 18, 9)),
        ("covid19", XRAYS, (32, 4, 4)),
        ("ham10000", DX, (42, 14, 14)),
        ("breakhis", ("benign", "malignant"), (24, 8, 8)),
    ],
)
def test_splits_of_table_2(root, name, classes, sizes):
    parts = [MedicalImages(name, root / name, split, image_size=8) for split in SPLITS]
    assert tuple(len(one) for one in parts) == sizes
    assert {one.classes for one in parts} == {classes}
    for first in range(3):
        for second in range(first):
            groups = [{picture.group for picture in parts[place].pictures} for place in (first, second)]
            assert not set.intersection(*groups)
    train = parts[0]
    assert len(set(Counter(train.labels.tolist()).values())) == 1  # stratified: every class has as many
    item = train[0]
    assert item["image"].shape == (3, 8, 8)
    assert -1 <= float(item["image"].min()) <= float(item["image"].max()) <= 1
    assert (item["label"], item["id"]) == (int(train.labels[0]), str(train.pictures[0].path.relative_to(root / name)))


def test_what_is_not_there_is_said(root, tmp_path):
    with pytest.raises(ValueError, match="hold pictures of crc"):
        MedicalImages("crc", tmp_path)
    with pytest.raises(FileNotFoundError, match="HAM10000_metadata"):
        MedicalImages("ham10000", root / "crc")
    with pytest.raises(RuntimeError, match="not found"):
        EverydayImages("CIFAR10", tmp_path)


def test_classes_of_breakhis_have_shares_of_their_own(tmp_path):
    for slide in range(100):
        for label, letter in (("benign", "B"), ("malignant", "M")):
            picture(tmp_path / f"breast/{label}/SOB_{letter}_X-14-{slide}{letter}-40-001.png", slide)
    counts = [MedicalImages("breakhis", tmp_path, split).labels.bincount().tolist() for split in SPLITS]
    assert counts == [[58, 63], [20, 18], [22, 19]]


def test_images_are_flipped_and_turned():
    torch.manual_seed(0)
    images = torch.rand(32, 1, 6, 6)
    flipped = FlipsAndRotations(degrees=0.0)(images)
    found = Counter()
    for before, after in zip(images, flipped, strict=True):
        ways = {"none": before, "across": before.flip(-1), "down": before.flip(-2), "both": before.flip(-1, -2)}
        found.update([name for name, way in ways.items() if torch.allclose(way, after, atol=1e-5)])
    assert sum(found.values()) == 32
    assert set(found) == {"none", "across", "down", "both"}
    ramp = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 1, 64, 64).clone()
    for degrees in (10.0, 20.0):  # the steepest direction is turned by no more than the angle
        turned = FlipsAndRotations(degrees)(ramp.expand(16, -1, -1, -1))[:, 0, 24:40, 24:40]
        down, across = turned.diff(dim=1).mean((1, 2)), turned.diff(dim=2).mean((1, 2))
        angles = torch.atan2(down.abs(), across.abs()).rad2deg()
        assert degrees / 2 < float(angles.max()) <= degrees + 0.1


def test_weights_are_downloaded_only_if_they_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="--download"):
        pretrained_flat_head("vgg19", 2)


def test_layers_that_are_trained_are_those_of_the_thesis():
    study = Study.load("hirescam", "paper", data="archives")
    for (data, name), layers in TRAINABLE_LAYERS.items():
        recipe = study.recipes[f"{data}_{name}"]
        own = recipe.network["init_args"]
        assert own["name"] == name
        with torch.device("meta"):  # names alone
            network = flatten_head(name, own["num_classes"], 32)
        trained = {one for one, _ in network.named_parameters() if not one.startswith(recipe.frozen)}
        wanted = {one for one, _ in network.named_parameters() if one.startswith((*(f"{x}." for x in layers), "fc."))}
        assert trained == wanted
    assert len([name for name in study.recipes if name.startswith(("cifar10-", "stl10-", "imagenette-"))]) == 48
    assert not study.recipes["cifar10-32-0.0001-0.0"].network["init_args"]["download"]


def small_stand_in(recipe):
    """Return a recipe with a small network for small images, one epoch, and everything else as it was."""
    arguments = {"num_classes": recipe.network["init_args"]["num_classes"], "channels": 3, "image_size": 16, "width": 2}
    network = {"class_path": "lightning_xai.studies.networks.conv_flatten", "init_args": arguments}
    images = {one: smaller(getattr(recipe, one)) for one in ("train", "validation", "test")}
    return replace(recipe, network=network, epochs=(1,), batch_size=16, **images)


def smaller(source):
    return {**source, "init_args": {**source["init_args"], "image_size": 16}}


def test_the_study_runs_on_the_archives(root, tmp_path):
    study = Study.load("hirescam", "paper", data=root, limit=2, only=["table_7"])
    (part,) = study.parts.values()
    chosen = ("crc_resnet34", "ham10000_vgg19", "breakhis_vgg19")
    part = replace(
        part,
        recipes={name: small_stand_in(part.recipes[name]) for name in chosen},
        data={name: smaller(one) for name, one in part.data.items()},
    )
    (table,) = study.tables
    words = {name: table.chosen["model"][name] for name in chosen}
    table = replace(table, chosen={**table.chosen, "model": words})
    result = replace(study, parts={"haas": part}, tables=(table,)).run(tmp_path, progress=False)
    assert not result.errors
    found = result.table("table_7")
    assert found.columns[1:] == ("CRC ResNet34", "HAM10000 VGG19", "BreakHis VGG19")
    assert " | 0.470 | " in found[0]["CRC ResNet34"]
    assert {(one.model, one.data) for one in result.findings.parts["haas"].settings} == {
        (name, name.partition("_")[0]) for name in chosen
    }
    assert len(result.networks) == 3
