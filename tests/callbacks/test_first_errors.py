"""What people meet first: batches and modules of every form either work or are told in one sentence what helps."""

from __future__ import annotations

import lightning as L
import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, Readout
from lightning_xai.metrics import InsertionDeletion, PointingGame
from lightning_xai.probing import Sample
from tests.callbacks._tiny import NO_PICTURES, Module, Squares, fit, tiny_net

DATA = Squares(12)
ITEMS = list(zip(DATA.images, DATA.labels, DATA.boxes, strict=True))


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Steps(Module):
    """Steps that send ``sent(batch)`` through the module and compare with ``labels(batch)``."""

    def __init__(self, sent=lambda batch: batch[0], labels=lambda batch: batch[1], net=None, ignored=-100):
        super().__init__()
        torch.manual_seed(0)
        self.net = tiny_net() if net is None else net
        self._sent, self._labels, self._ignored = sent, labels, ignored

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        labels = torch.as_tensor(self._labels(batch))
        return F.cross_entropy(self(self._sent(batch)), labels, ignore_index=self._ignored)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.training_step(batch, batch_idx), batch_size=4)


def watched(module, collate, items=ITEMS, **settings):
    given = {"metrics": [InsertionDeletion(4)], "num_images": 6, "reports": NO_PICTURES, "on_error": "raise"}
    watcher = ExplanationMonitor(**{**given, **settings})
    fit(watcher, module=module, val=DataLoader(items, 4, collate_fn=collate))
    return watcher


def pair(images=torch.stack, labels=torch.stack):
    return lambda items: (images([i for i, *_ in items]), labels([one for _, one, *_ in items]))


def expected():
    return watched(Steps(), pair()).latest


def assert_same(found):
    wanted = expected()
    assert torch.equal(found.loaders[0].keys, wanted.loaders[0].keys)
    assert torch.equal(found.loaders[0].labels, wanted.loaders[0].labels)
    assert found["xai/faithfulness"] == pytest.approx(wanted["xai/faithfulness"], abs=1e-6)


def numbers(labels):
    return [int(one) for one in labels]


READ = {
    "labels as a list": (pair(labels=numbers), Steps()),
    "labels as a tuple": (pair(labels=lambda labels: tuple(numbers(labels))), Steps()),
    "labels as an array": (pair(labels=lambda labels: np.array(numbers(labels))), Steps()),
    "labels as an array of int32": (
        pair(labels=lambda labels: np.array(numbers(labels), np.int32)),
        Steps(labels=lambda b: b[1].astype(np.int64)),
    ),
    "labels as a list of tensors": (pair(labels=list), Steps(labels=lambda b: torch.stack(b[1]))),
    "images as an array": (pair(images=lambda x: torch.stack(x).numpy()), Steps(sent=lambda b: torch.as_tensor(b[0]))),
    "images as a list": (pair(images=list), Steps(sent=lambda b: torch.stack(b[0]))),
    "a mapping of arrays": (
        lambda items: {"image": pair()(items)[0].numpy(), "label": np.array(numbers(pair()(items)[1]))},
        Steps(lambda b: torch.as_tensor(b["image"]), lambda b: b["label"]),
    ),
    "a list of mappings": (
        lambda items: [{"image": image, "label": label} for image, label, _ in items],
        Steps(lambda b: torch.stack([i["image"] for i in b]), lambda b: torch.stack([i["label"] for i in b])),
    ),
    "an index between": (
        lambda items: (pair()(items)[0], torch.arange(len(items)) + 40, pair()(items)[1]),
        Steps(labels=lambda b: b[2]),
    ),
    "targets with one label": (
        lambda items: (pair()(items)[0], [{"label": label, "boxes": box[None]} for _, label, box in items]),
        Steps(labels=lambda b: torch.stack([one["label"] for one in b[1]])),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_read(name):
    collate, module = READ[name]
    assert_same(watched(module, collate).latest)


class Keywords(Steps):
    """Is called with the whole batch as keywords."""

    def forward(self, image, label=None):
        return self.net(image)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(**batch), batch["label"])


def test_forward_with_the_batch_as_keywords():
    assert_same(watched(Keywords(), lambda items: dict(zip(("image", "label"), pair()(items), strict=True))).latest)


class Converts(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images.float() / 255)


class ConvertsBytesOnly(Converts):
    def forward(self, images):
        return super().forward(images) if images.dtype == torch.uint8 else self.net(images)


def as_bytes(items):
    images, labels = pair()(items)
    return (images * 100).to(torch.uint8), labels


def test_bytes_that_the_module_converts():
    torch.manual_seed(0)
    found = watched(Steps(net=Converts(tiny_net())), as_bytes)
    images = found._runs["fit"].probes[0].items
    assert all(item.image.dtype == torch.float32 and item.image.max() > 100 for item in images)
    assert 0 <= found.latest["xai/probe_accuracy"] <= 1


def with_ignored(value, places=(0, 5)):
    return [(image, torch.tensor(value) if i in places else label, box) for i, (image, label, box) in enumerate(ITEMS)]


@pytest.mark.parametrize("value", [255, -100, -1])
@pytest.mark.parametrize("sanity", [0, 2])
def test_labels_to_ignore_are_left_out(value, sanity):
    count = 10 if value == -1 else 12  # images of no class fill what is left
    watcher = ExplanationMonitor(
        metrics=[InsertionDeletion(4)], num_images=count, reports=NO_PICTURES, on_error="raise"
    )
    data = DataLoader(with_ignored(value), 4, collate_fn=pair())
    fit(watcher, module=Steps(ignored=value), val=data, num_sanity_val_steps=sanity)
    labels = watcher.latest.loaders[0].labels
    assert len(labels) == 10
    assert bool(((labels >= 0) & (labels < 3)).all())


def test_255_is_a_class_where_the_model_has_so_many():
    net = nn.Sequential(*tiny_net()[:-1], nn.Linear(6, 300))
    watcher = watched(Steps(net=net), pair(), with_ignored(255), num_images=12)
    assert watcher.latest.loaders[0].labels.tolist().count(255) == 2


def test_data_without_any_class_are_explained_all_the_same():
    watcher = watched(Steps(), pair(), with_ignored(-100, range(12)), num_images=4, target="predicted")
    assert len(watcher.latest.loaders[0].keys) == 4


def test_boxes_filled_up_with_minus_one():
    def collate(items):
        images, labels = pair()(items)
        boxes = torch.stack([torch.stack([box, torch.full_like(box, -1)]) for *_, box in items])
        return {"image": images, "label": labels, "boxes": boxes}

    module = Steps(lambda b: b["image"], lambda b: b["label"])
    found = watched(module, collate, metrics=[InsertionDeletion(4), PointingGame()]).latest
    assert 0 <= found["xai/pointing_game"] <= 1


def test_targets_of_detection_give_boxes_with_their_classes():
    def collate(items):
        counts = [1 + i % 2 for i in range(len(items))]
        targets = [
            {"boxes": box[None].repeat(count, 1), "labels": label.repeat(count)}
            for count, (_, label, box) in zip(counts, items, strict=True)
        ]
        return pair()(items)[0], targets

    module = Steps(labels=lambda batch: torch.stack([one["labels"][0] for one in batch[1]]))
    watcher = watched(module, collate, metrics=[InsertionDeletion(4), PointingGame()], target="predicted")
    items = watcher._runs["fit"].probes[0].items
    assert sorted({int(item.box_labels.max()) for item in items}) == [0, 1, 2]
    assert "xai/pointing_game" in watcher.latest


# -- one sentence, with what was sent, what came back, and what helps


class OfBatch(Steps):
    def forward(self, batch):
        return self.net(batch["image"] if isinstance(batch, dict) else batch[0])

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch), batch["label"] if isinstance(batch, dict) else batch[1])


class OfKeywords(Keywords):
    def forward(self, **batch):
        return self.net(batch["image"])


class Generator(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = nn.Linear(5, 256), tiny_net(2)
        self.loss = lambda batch: self.discriminator(self(torch.randn(len(batch[0]), 5)).view(-1, 1, 16, 16)).mean()

    def forward(self, noise):
        return self.generator(noise)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Scaled(Steps):
    """A generator whose validation scores nothing but itself."""

    def __init__(self):
        super().__init__(net=nn.Sequential(nn.Linear(5, 3)))

    def training_step(self, batch, batch_idx):
        return self(torch.randn(len(batch[0]), 5)).mean()


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(256, 3)

    def forward(self, volumes):
        return self.fc(volumes.mean(2).flatten(1))


def mapping(items):
    return dict(zip(("image", "label"), pair()(items), strict=True))


def detections(items):
    return pair()(items)[0], [{"boxes": box[None], "labels": label[None]} for _, label, box in items]


SAID = {
    "forward(batch)": (
        OfBatch(), mapping,
        ["sends a dict", "name a module that takes images", "Readout(forward=...) (children with parameters: net)"],
    ),
    "forward(batch) of a tuple": (OfBatch(), pair(), ["sends a tuple", "(children with parameters: net)"]),
    "forward(**batch) without names": (
        OfKeywords(), mapping,
        ["OfKeywords.forward", "wants other arguments by name", "(children with parameters: net)"],
    ),
    "volumes": (
        Steps(net=Volumes()), pair(images=lambda x: torch.stack(x)[:, :, None].expand(-1, -1, 3, -1, -1)),
        ["two-dimensional images only", "(4, 1, 3, 16, 16)"],
    ),
    "volumes in a mapping": (
        Steps(lambda b: b["image"], lambda b: b["label"], Volumes()),
        lambda items: {**mapping(items), "image": mapping(items)["image"][:, :, None].expand(-1, -1, 3, -1, -1)},
        ["two-dimensional images only", "(4, 1, 3, 16, 16)"],
    ),
    "crops": (
        Steps(lambda b: b[0].mean(1)), pair(images=lambda x: torch.stack(x)[:, None].expand(-1, 5, -1, -1, -1)),
        ["of several crops of an image return one by `sample_from_batch=`"],
    ),
    "signals": (Steps(lambda b: b[0][:, None]), pair(images=lambda x: torch.stack(x)[:, 0]), ["(N, 1, H, W)"]),
    "flat images": (
        Steps(lambda b: b[0].view(-1, 1, 16, 16)), pair(images=lambda x: torch.stack(x).flatten(1)), ["keep the shape"],
    ),
    "strings": (
        Steps(labels=lambda b: numbers(b[1])), pair(labels=lambda y: [str(int(one)) for one in y]),
        ["its strings are taken for names of the images", "sample_from_batch"],
    ),
    "strings in a mapping": (
        Steps(lambda b: b["image"], lambda b: numbers(b["label"])),
        lambda items: {"image": pair()(items)[0], "label": [str(int(label)) for _, label, _ in items]},
        ["`labels` of the batch to be numbers, but got list of str", "sample_from_batch"],
    ),
    "a shuffled index between": (
        Steps(labels=lambda b: b[2]),
        lambda items: (pair()(items)[0], torch.arange(len(items)) * 7 % 11, pair()(items)[1]),
        ["classes of the model, in [0, 2], but got", "an index, or another column?", "sample_from_batch"],
    ),
    "bytes that forward tells apart": (
        Steps(net=ConvertsBytesOnly(tiny_net())), as_bytes,
        ["torch.uint8", "differs by", "convert them in validation_step"],
    ),
    "bytes that the step converts": (Steps(lambda b: b[0] / 255), as_bytes, ["image · 0.00392", "enter the model"]),
    "a GAN": (Generator(), pair(), ["Readout(forward=...) (children with parameters: generator, discriminator)"]),
    "a generator alone": (Scaled(), pair(), ["it sends (5,)", "(children with parameters: net)"]),
    "an autoencoder": (
        Steps(net=nn.Conv2d(1, 1, 1), labels=lambda b: b[1]), pair(),
        ["(N, K) or (N,), but got (1, 1, 16, 16)", "logits_from_output", "(children with parameters: net)"],
    ),
    "detection targets alone": (
        Steps(labels=lambda b: torch.cat([one["labels"] for one in b[1]])), detections, ["target='predicted'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_said(name):
    module, collate, words = SAID[name]
    if name == "an autoencoder":
        module.training_step = lambda batch, _: module(batch[0]).mean()
    with pytest.raises((MisconfigurationException, TypeError, ValueError)) as raised:
        watched(module, collate)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("module", "collate", "settings"),
    [
        (OfBatch(), mapping, {"readout": Readout(forward="net")}),
        (OfKeywords(), mapping, {"readout": Readout(forward="net")}),
        (Steps(lambda b: b[0][:, 0]), pair(images=lambda x: torch.stack(x)[:, None].expand(-1, 5, -1, -1, -1)),
         {"sample_from_batch": lambda b: Sample(b[0][:, 0], b[1])}),
        (Steps(lambda b: b[0][:, None]), pair(images=lambda x: torch.stack(x)[:, 0]),
         {"sample_from_batch": lambda b: Sample(b[0][:, None], b[1])}),
        (Steps(labels=lambda b: numbers(b[1])), pair(labels=lambda y: [str(int(one)) for one in y]),
         {"sample_from_batch": lambda b: Sample(b[0], torch.tensor(numbers(b[1])))}),
        (Steps(labels=lambda b: b[2]),
         lambda items: (pair()(items)[0], torch.arange(len(items)) * 7 % 11, pair()(items)[1]),
         {"sample_from_batch": lambda b: Sample(b[0], b[2])}),
    ],
)  # fmt: skip
def test_what_the_sentence_says_helps(module, collate, settings):
    assert_same(watched(module, collate, **settings).latest)
