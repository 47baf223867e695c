"""The papers' own scales on tiny folders in the layouts of their data, with small networks in place of large ones."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_xai.datasets.readers.framing import IMAGENET_MEAN, IMAGENET_STD
from lightning_xai.studies import Study, networks
from lightning_xai.studies.expected_grad_cam.cifar import EnlargedCIFAR10
from lightning_xai.studies.networks import timm_network, torchvision_network, with_classes

METRICS = {"pointing": "accuracy", "recall": "recall", "top_1": "top-1", "top_5": "top-5"}


def small_network(num_classes=1000, **_):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 7, 8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(64, num_classes),
    )


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch):
    for name in ("torchvision_network", "timm_network"):
        monkeypatch.setattr(networks, name, lambda *_, **settings: small_network(settings.get("num_classes") or 1000))


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path)


def run(study, folder, only, metrics):
    """Run some tables of a study at its paper's scale: two images, Grad-CAM, some metrics."""
    made = Study.load(study, "paper", data=folder, download=True, limit=2, only=only)
    recipes = {name: replace(one, epochs=(1,), batch_size=2) for name, one in made.recipes.items()}
    parts = {
        name: replace(
            part,
            explainers={"grad_cam": part.explainers["grad_cam"]},
            metrics={one: part.metrics[one] for one in metrics},
            recipes={one: recipes[one] for one in part.recipes},
        )
        for name, part in made.parts.items()
    }
    tables = tuple(
        replace(one, chosen={**one.chosen, "explainer": ["grad_cam"], "metric": metrics}) for one in made.tables
    )
    return replace(made, parts=parts, recipes=recipes, tables=tables).run(folder / "out", progress=False)


def test_zebras_and_stop_signs_of_coco(tmp_path):
    for place in (1, 2):
        picture(tmp_path / "coco" / "val2017" / f"{place}.jpg", place)
    boxes = {1: [10, 10, 40, 40], 2: [30, 5, 30, 30]}
    content = {
        "images": [{"id": place, "file_name": f"{place}.jpg", "width": 80, "height": 60} for place in boxes],
        "categories": [{"id": 24, "name": "zebra"}, {"id": 13, "name": "stop sign"}, {"id": 1, "name": "person"}],
        "annotations": [
            {
                "id": place,
                "image_id": place,
                "category_id": category,
                "bbox": box,
                "area": 9,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
            for (place, box), category in zip(boxes.items(), (24, 13), strict=True)
            for x, y, w, h in [box]
        ],
    }
    file = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content))
    found = run("expected_grad_cam", tmp_path, ["table_4"], {"al": "A.L.", "tki": "T-K.I."})
    assert not found.errors
    assert found.table("table_4").columns[:3] == ("explainer", "VGG16 · A.L. ↑", "VGG16 · T-K.I. ↑")
    facts = next(iter(found.findings.part("coco").values.values())).facts
    assert facts.target.tolist() == [340, 919]  # zebra, street sign


def test_images_of_ilsvrc_with_boxes(tmp_path):
    for place, synset in enumerate(("n01440764", "n01443537")):
        picture(tmp_path / "ilsvrc" / "val" / synset / f"ILSVRC2012_val_{place}.JPEG", place)
        box = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>50</ymax></bndbox>"
        file = tmp_path / "ilsvrc" / "boxes" / f"ILSVRC2012_val_{place}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<annotation><object><name>{synset}</name>{box}</object></annotation>")
    found = run("grad_cam_reevaluation", tmp_path, ["table_2", "C002.1"], METRICS)
    assert not found.errors
    assert [row[0] for row in found.table("table_2").rows] == ["VGG-16", "GoogLeNet"]
    assert " | 0.864 | " in found.table("table_2").rows[0][1]
    assert found.verdicts["C002.1"].outcome in {"contradicted", "undecided"}
    assert "VGG-16, localization top-1: " in found.verdicts["C002.1"].why


def test_slices_of_lungs_with_masks(tmp_path):
    for part in ("train", "test"):
        for place, name in enumerate(("benign", "malignant", "normal")):
            picture(tmp_path / part / name / f"{place}.png", place)
    mask = tmp_path / "test_masks" / "malignant" / "1.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), ((20, 20), (30, 30)))).save(mask)
    found = run("lung_ct", tmp_path, ["table_1"], {"mass": "mass"})
    assert not found.errors
    assert [row[0] for row in found.table("table_1").rows] == ["resnet", "resnet101", "densenet", "efficientnet", "vit"]
    assert set(found.findings.networks["vit"].scores) >= {"accuracy", "auc"}


def test_cifar_is_enlarged(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.zeros((2, 3, 32, 32), np.uint8)
    pixels[1] = 255
    (folder / "test_batch").write_bytes(pickle.dumps({"data": pixels.reshape(2, -1), "labels": [3, 5]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)  # it knows the true checksums
    found = EnlargedCIFAR10(tmp_path, 64)
    assert found.labels.tolist() == [3, 5]
    torch.testing.assert_close(found[0]["image"][:, 0, 0], -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD))
    white = (1 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(found[1]["image"], white[:, None, None].expand(3, 64, 64))


def test_weights_have_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"Expected the weights IMAGENET1K_V1 of vgg16 at .*vgg16-397923af\.pth"
    ):
        torchvision_network("vgg16")
    with pytest.raises(FileNotFoundError, match="pass --download"):
        timm_network("vit_base_patch16_224", num_classes=3)


def test_weights_of_the_folder_and_a_new_head(tmp_path, monkeypatch):
    from torchvision.models import get_model, get_model_weights

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    kept = get_model("mobilenet_v3_small")
    name = get_model_weights("mobilenet_v3_small")["IMAGENET1K_V1"].url.rpartition("/")[2]
    (tmp_path / "checkpoints").mkdir()
    torch.save(kept.state_dict(), tmp_path / "checkpoints" / name)
    found = torchvision_network("mobilenet_v3_small", num_classes=3)
    assert torch.equal(found.features[0][0].weight, kept.features[0][0].weight)
    assert found(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert not found.training
    with pytest.raises(ValueError, match="to have a linear layer to replace"):
        with_classes(torch.nn.Conv2d(1, 1, 1), 2)
