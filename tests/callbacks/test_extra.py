"""Models that want more than an image: a table, a second view, a mapping of everything; values image by image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_xai import Classifier, ExplanationMonitor, Readout
from lightning_xai.evidence.case import Case
from lightning_xai.explainers import GradCAM
from lightning_xai.metrics import InsertionDeletion, MaxSensitivity
from lightning_xai.probing import Sample
from lightning_xai.reports import Report
from tests._nets import Closed, Fusion, TwoViews
from tests.callbacks._tiny import NO_PICTURES, Dicts, Module, fit

COUNT = 10
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(COUNT, 3, 12, 12, generator=GENERATOR)
TABLE = torch.randn(COUNT, 2, generator=GENERATOR)
SIDE = torch.rand(COUNT, 3, 12, 12, generator=GENERATOR)
LABELS = torch.arange(COUNT) % 4


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def monitor(**settings):
    given = {
        "metrics": [InsertionDeletion(4), MaxSensitivity(2)],
        "num_images": 6,
        "reports": NO_PICTURES,
        "on_error": "raise",
    }
    return ExplanationMonitor(**{**given, **settings})


class Tuples(Dataset):
    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return tuple(_item(column, index) for column in self.columns)


def _item(column, index):
    return tuple(part[index] for part in column) if isinstance(column, tuple) else column[index]


class Wants(Module):
    """A module whose steps call `forward` by ``call(self, batch)`` and read labels by ``labels(batch)``."""

    def __init__(self, net, call, labels=lambda batch: batch[-1]):
        super().__init__()
        torch.manual_seed(0)
        self.net, self._call, self._labels = net().eval(), call, labels

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self._call(self, batch), self._labels(batch))

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.training_step(batch, batch_idx), batch_size=len(self._labels(batch)))


class OfTable(Wants):
    def forward(self, image, table):
        return self.net(image, table)


class OfViews(Wants):
    def forward(self, front, side):
        return self.net(front, side)


class OfAnything(Wants):
    def forward(self, *args, **kwargs):
        return self.net(*args, **kwargs)


def by_key(self, batch):
    return self(batch["image"], batch["table"])


def label_of(batch):
    return batch["label"]


def watched(module, data, batch_size=4, **settings):
    watcher = monitor(**settings)
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size)
    fit(watcher, module=module, val=loader)
    return watcher


def expected_rows(watcher, module, images, beside, name="table"):
    """Return the monitor's rows, computed image by image of a network that knows one image's table or view."""
    probe = watcher._runs["fit"].probes[0]
    span = probe.value_range
    rows = {metric: [] for metric in ("faithfulness", "max_sensitivity")}
    for item in probe.items:
        place = next(i for i, image in enumerate(images) if torch.equal(image, item.image))
        model = Closed(module, beside[place : place + 1])
        target = torch.tensor([int(item.label)])
        explainer = GradCAM(target_layer="model.net.features")
        heatmaps = explainer(model, item.image[None], target)
        case = Case(model, item.image[None], target, heatmaps=heatmaps, explainer=explainer, value_range=span)
        for metric in (InsertionDeletion(4), MaxSensitivity(2)):
            rows[metric.key].append(float(metric.score(case)))
    return {metric: torch.tensor(values) for metric, values in rows.items()}


DATA = {
    "a mapping with other keys, as MONAI's": (
        lambda: OfTable(Fusion, by_key, label_of),
        lambda: Dicts(image=IMAGES, table=TABLE, label=LABELS, image_meta_dict=TABLE * 0, spacing=TABLE),
    ),
    "a tuple, labels last": (lambda: OfTable(Fusion, lambda s, b: s(*b[:2])), lambda: Tuples(IMAGES, TABLE, LABELS)),
    "a tuple, labels in the middle": (
        lambda: OfTable(Fusion, lambda s, b: s(b[0], table=b[2]), lambda b: b[1]),
        lambda: Tuples(IMAGES, LABELS, TABLE),
    ),
    "a group of inputs": (
        lambda: OfTable(Fusion, lambda s, b: s(*b[0])),
        lambda: Tuples((IMAGES, TABLE), LABELS),
    ),
    "a forward that hands on": (
        lambda: OfAnything(Fusion, by_key, label_of),
        lambda: Dicts(image=IMAGES, table=TABLE, label=LABELS),
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_image_and_table(name):
    make, data = DATA[name]
    module = make()
    watcher = watched(module, data())
    found = watcher.latest.loaders[0].rows["grad_cam"]
    expected = expected_rows(watcher, module, IMAGES, TABLE)
    for metric, rows in expected.items():
        assert torch.allclose(found[metric], rows, atol=1e-4, equal_nan=True), metric


@dataclass(frozen=True)
class Listening(Report):
    """Keeps the logits of the last validation."""

    wants_validation_logits: ClassVar[bool] = True
    told: dict = field(default_factory=dict)

    def publish(self, epoch, run):
        self.told.update(run.validation)


@pytest.mark.parametrize("name", DATA)
def test_logits_of_a_whole_validation(name):
    make, data = DATA[name]
    module, report = make(), Listening()
    watcher = watched(module, data(), reports=report, num_images=COUNT, explainers="center_heatmap")
    heard, probe = report.told[0], watcher.latest.loaders[0]
    assert sorted(heard.keys.tolist()) == sorted(probe.keys.tolist())
    order = [probe.keys.tolist().index(key) for key in heard.keys.tolist()]
    assert torch.equal(heard.labels, probe.labels[order])
    assert torch.allclose(heard.logits.softmax(1), probe.probabilities[order], atol=1e-5)


@pytest.mark.parametrize(
    "data",
    [
        lambda: Tuples(IMAGES, SIDE, LABELS),
        lambda: Tuples((IMAGES, SIDE), LABELS),
        lambda: Dicts(front=IMAGES, side=SIDE, label=LABELS),
        lambda: Dicts(image=IMAGES * 0, front=IMAGES, side=SIDE, label=LABELS),  # a thumbnail beside
    ],
    ids=["tuple", "group", "mapping", "mapping with another image"],
)
def test_two_views(data):
    def call(self, batch):
        if isinstance(batch, dict):
            return self(front=batch["front"], side=batch["side"])
        return self(*(batch[0] if len(batch) == 2 else batch[:2]))

    module = OfViews(TwoViews, call, lambda b: b["label"] if isinstance(b, dict) else b[-1])
    explainer = GradCAM(target_layer="net.features")
    watcher = watched(module, data(), explainers=explainer)
    found = watcher.latest.loaders[0]
    assert explainer.picked == ["the output of `net.features` (call 1)"]
    probe = watcher._runs["fit"].probes[0]
    places = [next(i for i in range(COUNT) if torch.equal(IMAGES[i], item.image)) for item in probe.items]
    with torch.no_grad():
        logits = module(IMAGES[places], SIDE[places])
    assert torch.allclose(found.probabilities, logits.softmax(1), atol=1e-5)


def test_by_hand_where_names_do_not_say_it():
    def sample_of(batch):
        return Sample(batch["scan"], batch["finding"], extra={"table": batch["clinical"]})

    module = OfTable(Fusion, lambda s, b: s(b["scan"], b["clinical"]), lambda b: b["finding"])
    data = Dicts(scan=IMAGES, clinical=TABLE, finding=LABELS)
    watcher = watched(module, data, sample_from_batch=sample_of)
    expected = expected_rows(watcher, module, IMAGES, TABLE)
    found = watcher.latest.loaders[0].rows["grad_cam"]["faithfulness"]
    assert torch.allclose(found, expected["faithfulness"], atol=1e-4)


def test_lists_of_any_size_go_into_forward_per_image():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Fusion()

        def forward(self, image, rows):
            return self.net(image, torch.stack([one.mean(0) for one in rows]))

    def collate(items):
        images, rows, labels = zip(*items, strict=True)
        return {"image": torch.stack(images), "rows": list(rows), "label": torch.stack(labels)}

    class Any_(Wants):
        def forward(self, image, rows):
            return self.net(image, rows)

    rows = [TABLE[i].expand(i % 3 + 1, 2) for i in range(COUNT)]
    module = Any_(Rows, lambda s, b: s(b["image"], b["rows"]), label_of)
    watcher = watched(module, DataLoader(Tuples(IMAGES, rows, LABELS), 4, collate_fn=collate))
    probe = watcher._runs["fit"].probes[0]
    assert len({item.extra["rows"].shape for item in probe.items}) > 1
    plain = OfTable(Fusion, by_key, label_of)
    plain.net.load_state_dict(module.net.net.state_dict())
    expected = expected_rows(watcher, plain, IMAGES, TABLE)["faithfulness"]
    assert torch.allclose(watcher.latest.loaders[0].rows["grad_cam"]["faithfulness"], expected, atol=1e-4)


def test_one_image_with_two_tables_is_two_and_with_one_is_one():
    images = IMAGES[:2].repeat(5, 1, 1, 1)
    labels = torch.zeros(COUNT, dtype=torch.int64)
    table = TABLE[torch.tensor([0, 1, 0, 1, 2, 3, 0, 1, 2, 3])]
    module = OfTable(Fusion, by_key, label_of)
    watcher = watched(module, Dicts(image=images, table=table, label=labels), num_images=8)
    probe = watcher._runs["fit"].probes[0]
    assert len(probe) == len(set(probe.keys)) == 4
    assert len({item.extra["table"][0].item() for item in probe.items}) == 4


def test_the_choice_depends_neither_on_order_nor_on_batches():
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    probes = []
    for rows, size in ((torch.arange(COUNT), 4), (order, 3)):
        data = Dicts(image=IMAGES[rows], table=TABLE[rows], label=LABELS[rows])
        watcher = watched(OfTable(Fusion, by_key, label_of), data, batch_size=size)
        probes.append(watcher._runs["fit"].probes[0])
    assert probes[0].identities == probes[1].identities
    assert all(torch.equal(a.extra["table"], b.extra["table"]) for a, b in zip(*(p.items for p in probes), strict=True))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precision_reaches_what_comes_beside_the_image(precision):
    seen = set()

    class Dtypes(OfTable):
        def forward(self, image, table):
            seen.add((image.dtype, table.dtype))
            return super().forward(image, table)

    watcher = monitor()
    data = DataLoader(Dicts(image=IMAGES, table=TABLE, label=LABELS), 4)
    fit(watcher, module=Dtypes(Fusion, by_key, label_of), val=data, precision=precision)
    wanted = {"bf16-mixed": torch.float32, "bf16-true": torch.bfloat16, "64-true": torch.float64}[precision]
    assert seen == {(wanted, wanted)}
    assert watcher.latest is not None


def refused(module, data, **settings):
    with pytest.raises((MisconfigurationException, TypeError, ValueError)) as raised:
        watched(module, data, **settings)
    return str(raised.value)


def test_what_is_missing_is_named_with_the_settings_that_help():
    module = OfTable(Fusion, lambda s, b: s(b["image"], b["clinical"]), label_of)
    said = refused(module, Dicts(image=IMAGES, clinical=TABLE, label=LABELS))
    assert "`table`, which OfTable.forward(image, table) wants beside the image" in said
    assert "['clinical', 'image', 'label']" in said
    assert "extra={'table': ...}" in said
    assert "Readout(forward=...) (children with parameters: net)" in said


def test_labels_that_cannot_be_told_from_another_column_are_asked_for():
    ages = torch.arange(COUNT) % 3
    module = OfTable(Fusion, lambda s, b: s(b[0], b[1][:, None].expand(-1, 2).float()))
    said = refused(module, Tuples(IMAGES, ages, LABELS))
    assert "Expected to tell the labels from what OfTable.forward(image, table) wants" in said
    assert "sample_from_batch" in said


def test_an_argument_with_a_default_that_a_step_passes_and_we_do_not_is_seen():
    class Optional(OfTable):
        def forward(self, image, table=None):
            return self.net(image, torch.zeros(len(image), 2) if table is None else table)

    module = Optional(Fusion, lambda s, b: s(b["image"], b["clinical"]), label_of)
    said = refused(module, Dicts(image=IMAGES, clinical=TABLE, label=LABELS))
    assert "it sends `table` as well, and the logits depend on that" in said


def test_what_a_step_leaves_out_though_forward_would_take_it_is_seen():
    class Optional(OfTable):
        def forward(self, image, table=None):
            return self.net(image, torch.zeros(len(image), 2) if table is None else table)

    module = Optional(Fusion, lambda s, b: s(b["image"]), label_of)
    said = refused(module, Dicts(image=IMAGES, table=TABLE, label=LABELS))
    assert "it does not send `table`, and the logits depend on that" in said
    settled = watched(module, Dicts(image=IMAGES, table=TABLE, label=LABELS), sample_from_batch=image_and_label)
    assert settled.latest is not None


def image_and_label(batch):
    return Sample(batch["image"], batch["label"])


def test_another_table_than_the_batchs_is_seen():
    module = OfTable(Fusion, lambda s, b: s(b["image"], b["table"] * 3), label_of)
    said = refused(module, Dicts(image=IMAGES, table=TABLE, label=LABELS))
    assert "Expected validation_step to send `table` of the batch through OfTable as it is" in said


def test_an_optional_argument_of_which_the_logits_do_not_depend_is_nobodys_business():
    class WithLoss(OfTable):
        def forward(self, image, table, labels: Tensor | None = None):
            return {"logits": self.net(image, table), "loss": labels}

    def call(self, batch):
        return self(batch["image"], batch["table"], labels=batch["label"])["logits"]

    watcher = watched(WithLoss(Fusion, call, label_of), Dicts(image=IMAGES, table=TABLE, label=LABELS))
    assert watcher.latest is not None
    assert watcher._runs["fit"].samples[0].extra.keys() == {"table"}


def test_a_named_module_is_asked_for_what_it_takes():
    class Inner(Wants):
        def forward(self, batch):
            return self.net(batch["image"], batch["table"])

    module = Inner(Fusion, lambda s, b: s(b), label_of)
    data = Dicts(image=IMAGES, table=TABLE, label=LABELS)
    assert "sends a dict: name a module that takes images" in refused(module, data)
    module = Inner(Fusion, lambda s, b: s(b), label_of)
    watcher = watched(module, data, readout=Readout(forward="net"))
    plain = OfTable(Fusion, by_key, label_of)
    plain.load_state_dict(module.state_dict())
    expected = expected_rows(watcher, plain, IMAGES, TABLE)["faithfulness"]
    assert torch.allclose(watcher.latest.loaders[0].rows["grad_cam"]["faithfulness"], expected, atol=1e-4)


def test_training_is_what_it_was():
    weights = []
    for watching in (False, True):
        module = OfTable(Fusion, by_key, label_of)
        torch.manual_seed(5)
        data = DataLoader(Dicts(image=IMAGES, table=TABLE, label=LABELS), 4, shuffle=True)
        fit(*([monitor()] if watching else []), module=module, val=data, max_epochs=2)
        weights.append(module.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_classifier_bound_to_the_probes_extra_gives_the_monitors_heatmaps():
    module = OfTable(Fusion, by_key, label_of)
    watcher = watched(module, Dicts(image=IMAGES, table=TABLE, label=LABELS))
    probe = watcher._runs["fit"].probes[0]
    sample = probe.sample(range(len(probe)), torch.device("cpu"))
    bound = Classifier(module).with_extra(sample.extra)
    heatmaps = GradCAM()(bound, sample.images, sample.labels)
    small = watcher.latest.loaders[0].heatmaps["grad_cam"]
    peak = heatmaps.flatten(1).amax(1)[:, None, None].clamp(min=1e-12)
    assert torch.allclose(heatmaps / peak, small.float(), atol=2e-3)


def test_dropout_beside_labels_that_make_a_loss_is_warned_of_as_without():
    class WithLoss(OfTable):
        def forward(self, image, table, labels: Tensor | None = None):
            return {"logits": F.dropout(self.net(image, table), 0.5, training=True), "loss": labels}

    def call(self, batch):
        return self(batch["image"], batch["table"], labels=batch["label"])["logits"]

    module = WithLoss(Fusion, call, label_of)
    with pytest.warns(UserWarning, match="gets other logits from WithLoss than validation_step"):
        watched(module, Dicts(image=IMAGES, table=TABLE, label=LABELS), on_error="warn")
