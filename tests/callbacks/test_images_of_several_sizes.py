"""Images of several sizes: explained in groups of one size, with one value over all, that of one after the other."""

from __future__ import annotations

import csv
from typing import ClassVar

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_xai import ExplanationMonitor
from lightning_xai.evidence import Case
from lightning_xai.explainers import GradCAM, RandomHeatmap, ReferenceExplainer
from lightning_xai.metrics import (
    HAAS,
    BoxLocalization,
    HeatmapDrift,
    InsertionDeletion,
    MaxSensitivity,
    PointingGame,
    RelativeRepresentationStability,
    RelevanceMassAccuracy,
    Sparseness,
    Sufficiency,
)
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model import Classifier, Readout
from lightning_xai.reports import Grid, History, Scalars
from tests.callbacks._tiny import CLASSES, NO_PICTURES, Module, fit

SIZES = ((16, 16), (20, 28), (64, 24))
COUNT = 6


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Sizes(Dataset):
    """A bright square says the class; image i has the i-th size."""

    def __init__(self, count=COUNT, sizes=SIZES, *, annotation=None):
        noise = torch.Generator().manual_seed(3)
        self.items = []
        for index in range(count):
            height, width = sizes[index % len(sizes)]
            label = (index // len(sizes)) % CLASSES
            image, mask = torch.rand(1, height, width, generator=noise), torch.zeros(height, width, dtype=torch.bool)
            top, left = 4 * label, 3 * label
            mask[top : top + 5, left : left + 6] = True
            image[:, mask] += 1.5
            box = torch.tensor([[left, top, left + 6, top + 5]]).float()
            more = {None: [], "masks": [mask], "boxes": [box]}[annotation]
            self.items.append((image, torch.tensor(label), *more))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def loader(count=COUNT, sizes=SIZES, **settings):
    return DataLoader(Sizes(count, sizes, **settings), 1)


def metrics(*more):
    return [
        InsertionDeletion(4),
        MaxSensitivity(num_samples=2),
        HeatmapDrift(),
        Sparseness(),
        Sufficiency(),
        HAAS(),
        RelativeRepresentationStability(num_samples=2),
        *more,
    ]


def monitor(explainers="grad_cam", given=None, **settings):
    usual = {"num_images": COUNT, "reports": NO_PICTURES, "on_error": "raise", "readout": Readout(output="logit")}
    return ExplanationMonitor(explainers, metrics() if given is None else given, **{**usual, **settings})


class Epochs(L.Callback):
    """What was latest after each validation."""

    def __init__(self, ours):
        self.ours, self.seen = ours, []

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.seen.append(self.ours.latest)


def one_by_one(module, probe, metric, *, previous=None, control=False):
    """The rows of a metric, an image at a time: from the map that the explainer makes of each image alone."""
    rows = []
    for place, item in enumerate(probe.items):
        classifier = Classifier(module, Readout(), chunk_size=1)
        image, target = item.image[None], item.label[None]
        explainer = RandomHeatmap() if control else GradCAM()
        maps = explainer(classifier, image, target).float()
        earlier = None
        if previous is not None:
            height, width = (min(side, 56) for side in item.image.shape[1:])
            earlier = previous[place : place + 1, :height, :width].float()
        case = Case(
            classifier,
            image,
            target,
            heatmaps=maps,
            explainer=explainer,
            previous_heatmaps=earlier,
            masks=None if item.mask is None else item.mask[None],
            boxes=None if item.boxes is None else item.boxes[None],
            value_range=probe.value_range,
        )
        rows.append(metric.scored(case))
    return torch.cat(rows)


class TestValues:
    @pytest.fixture(scope="class")
    def explained(self, tmp_path_factory):
        """Monitor, module and epochs of a fit."""
        ours = monitor(given=metrics(PointingGame(), RelevanceMassAccuracy(), BoxLocalization()))
        torch.manual_seed(2)
        epochs, module = Epochs(ours), Module(lr=0.02)
        folder = tmp_path_factory.mktemp("fit")
        fit(ours, epochs, module=module, val=loader(annotation="masks"), max_epochs=2, default_root_dir=folder)
        return ours, module.eval(), epochs.seen

    def test_every_row_is_that_of_its_image_alone(self, explained):
        ours, module, epochs = explained
        probe = ours._runs["fit"].probes[0]
        assert sorted(tuple(item.image.shape[1:]) for item in probe.items) == sorted(SIZES * 2)
        found = epochs[1].loaders[0]
        previous = epochs[0].loaders[0].heatmaps["grad_cam"]
        for name, metric in found.metrics.items():
            expected = one_by_one(module, probe, metric, previous=previous)
            torch.testing.assert_close(found.rows["grad_cam"][name], expected, rtol=2e-3, atol=1e-4, equal_nan=True)
            value = epochs[1].estimates[f"xai/{name}"].value
            assert value == pytest.approx(float(metric.aggregate(expected)), rel=2e-3, abs=1e-4, nan_ok=True)
        assert not found.rows["grad_cam"]["heatmap_drift"].isnan().any()
        assert not found.rows["grad_cam"]["pointing_game"].isnan().any()
        expected = one_by_one(module, probe, found.metrics["faithfulness"], control=True)
        torch.testing.assert_close(found.control_rows["faithfulness"], expected, rtol=1e-3, atol=1e-4)

    def test_the_mean_of_different_images_would_show_another_order(self, explained):
        ours, _, epochs = explained  # control: rows in the order of the groups are not those of the probe
        groups = ours._runs["fit"].probes[0].places_by_size
        places = [place for group in groups for place in group]
        assert places != sorted(places)
        rows = epochs[1].loaders[0].rows["grad_cam"]["faithfulness"]
        assert not torch.allclose(rows[places], rows)

    def test_evaluations_are_those_of_one_image_after_the_other(self, explained):
        ours, module, epochs = explained
        classifier = Classifier(module, Readout(), chunk_size=1)
        probe = ours._runs["fit"].probes[0]
        for place in range(len(probe)):
            sample = probe.sample([place], torch.device("cpu"))
            ours.plan.answers(classifier, sample, torch.tensor(probe.labels)[[place]])
        assert epochs[1].evaluations == classifier.evaluations
        assert epochs[1]["xai/model_evaluations"] == classifier.evaluations

    def test_small_heatmaps_stand_in_the_corner(self, explained):
        ours, module, epochs = explained
        maps = epochs[1].loaders[0].heatmaps["grad_cam"]
        assert maps.shape == (COUNT, 56, 28)
        for item, one in zip(ours._runs["fit"].probes[0].items, maps, strict=True):
            height, width = (min(side, 56) for side in item.image.shape[1:])
            whole = GradCAM()(module, item.image[None], item.label[None])
            expected = F.adaptive_avg_pool2d(whole, (height, width))[0]
            expected = expected / expected.abs().amax().clamp(min=1e-12)
            torch.testing.assert_close(one[:height, :width].float(), expected, rtol=0, atol=2e-3)
            assert one.isnan().sum() == one.numel() - height * width


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([(16 + index, 40 - index) for index in range(COUNT)], id="each its own"),
        pytest.param([(16, 16)], id="one"),
        pytest.param([(16, 24), (24, 16)], id="turned"),
    ],
)
def test_other_mixtures(sizes):
    ours = monitor(given=[InsertionDeletion(4), HeatmapDrift(), Sufficiency()])
    module = Module()
    fit(ours, module=module, val=loader(sizes=sizes), max_epochs=2)
    probe = ours._runs["fit"].probes[0]
    assert len(probe.places_by_size) == len(set(sizes))
    expected = one_by_one(module.eval(), probe, InsertionDeletion(4))
    assert ours.latest["xai/faithfulness"] == pytest.approx(expected.mean().item(), abs=1e-4)
    assert "xai/heatmap_drift" in ours.latest


def test_boxes_of_several_sizes():
    ours, module = monitor(given=[BoxLocalization(), PointingGame()]), Module()
    fit(ours, module=module, val=loader(annotation="boxes"), max_epochs=1)
    probe = ours._runs["fit"].probes[0]
    for name, metric in ours.latest.loaders[0].metrics.items():
        expected = one_by_one(module.eval(), probe, metric)
        torch.testing.assert_close(ours.latest.loaders[0].rows["grad_cam"][name], expected, rtol=1e-3, atol=1e-4)


def test_batches_of_one_size_and_several_loaders():
    batched = DataLoader(Sizes(), batch_sampler=[[0, 3], [1], [4], [5, 2]])
    both = monitor(given=[InsertionDeletion(4)])
    fit(both, val=[loader(3), batched], train=loader(), max_epochs=1)
    assert [len(both._runs["fit"].probes[i]) for i in (0, 1)] == [3, COUNT]
    alone = monitor(given=[InsertionDeletion(4)])
    fit(alone, val=loader(), max_epochs=1)
    assert both._runs["fit"].probes[1].identities == alone._runs["fit"].probes[0].identities


@pytest.mark.parametrize("target", ["predicted", "least_probable", 1])
def test_other_targets(target):
    ours = monitor(given=[InsertionDeletion(4)], target=target)
    fit(ours, val=loader(), max_epochs=1)
    found = ours.latest.loaders[0]
    explained = {"predicted": found.predicted, "least_probable": found.probabilities.argmin(1)}
    assert torch.equal(found.target, explained.get(target, torch.full((COUNT,), 1)))


class Distance(ReferenceExplainer):
    """The distance from the mean reference; notes what it was given."""

    seen: ClassVar[dict] = {}

    def explain(self, classifier, images, target):
        references = self.references_for(images)
        self.seen[tuple(images.shape[2:])] = references.cpu()
        return (images - references.mean(0)).sum(1)


def test_references_are_the_same_images_in_every_size(monkeypatch):
    monkeypatch.setattr(Distance, "seen", {})
    ours = monitor(Distance(), [Sparseness()])
    fit(ours, val=loader(), max_epochs=1)
    assert set(Distance.seen) == set(SIZES)
    originals = {tuple(image.shape): [] for image, _ in Sizes()}
    for image, _ in Sizes():
        originals[tuple(image.shape)].append(image)
    for size, references in Distance.seen.items():
        assert references.shape == (COUNT, 1, *size)
        own = originals[(1, *size)]
        assert sum(any(torch.equal(one, image) for image in own) for one in references) == len(own) == 2
        for image, _ in Sizes():  # the others are there too, resized: their means stay
            assert (references.mean((1, 2, 3)) - image.mean()).abs().min() < 0.02


@pytest.mark.parametrize("explainer", ["expected_gradients", "expected_grad_cam", "integrated_gradients"])
def test_explainers_with_references_have_values(explainer):
    ours = monitor(explainer, [Sparseness()], num_images=3)
    fit(ours, val=loader(3), max_epochs=1)
    assert 0.0 < ours.latest["xai/sparseness"] < 1.0


class Width(ExplanationMetric):
    """Returns as many numbers as the image is wide: there is no value over several sizes."""

    def score(self, case):
        return case.heatmaps.sum(1)

    def per_image(self, rows):
        return rows.mean(1)

    def aggregate(self, rows):
        return rows.mean()


def test_a_metric_that_cannot_join_sizes_is_said():
    with pytest.raises(ValueError, match=r"as many numbers per image whatever its size.*\[\(16,\), \(24,\), \(28,\)\]"):
        fit(monitor(given=[Width()]), val=loader(), max_epochs=1)
    ours = monitor(given=[Width()])
    fit(ours, val=loader(sizes=[(16, 16)]), max_epochs=1)
    assert "xai/width" in ours.latest


def test_rows_and_pictures(tmp_path):
    grid = Grid(num_images=4, cell_size=64)
    ours = monitor(given=[InsertionDeletion(4)], reports=[Scalars(), History(), grid])
    fit(ours, val=loader(annotation="masks"), max_epochs=1, default_root_dir=tmp_path)
    with (tmp_path / "xai_images.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["explainer"] == "grad_cam"]
    found = ours.latest.loaders[0]
    assert [int(row["image"]) for row in rows] == found.keys.tolist()
    expected = found.rows["grad_cam"]["faithfulness"].tolist()
    assert [float(row["value"]) for row in rows] == pytest.approx(expected, abs=1e-6)
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_an_early_stopping_runs_out_of_patience_only():
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=99)
    ours = monitor(given=[InsertionDeletion(4)], on_error="warn")
    trainer = fit(stopping, ours, val=loader(), max_epochs=3)
    assert trainer.current_epoch == 3
    assert [row["epoch"] for row in ours.history] == [0, 1, 2]


def test_a_resumed_run_goes_on(tmp_path):
    settings = {"val": loader(), "limit_train_batches": 3}
    given = [InsertionDeletion(4), HeatmapDrift()]
    whole = monitor(given=given)
    torch.manual_seed(1)
    fit(whole, module=Module(), max_epochs=3, **settings)
    saving = ModelCheckpoint(tmp_path, save_last=True)
    torch.manual_seed(1)
    fit(monitor(given=given), saving, module=Module(), max_epochs=2, enable_checkpointing=True, **settings)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"][whole.state_key]
    assert state["probes"]["0"]["previous"]["grad_cam"].shape == (COUNT, 56, 28)
    again = monitor(given=given)
    trainer = L.Trainer(
        callbacks=[again], accelerator="cpu", devices=1, logger=False, max_epochs=3, limit_train_batches=3,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Module(), loader(), loader(), ckpt_path=str(tmp_path / "last.ckpt"))
    assert len(again.history) == len(whole.history) == 3
    for mine, expected in zip(again.history, whole.history, strict=True):
        known = {name: value for name, value in expected.items() if name != "xai/seconds"}
        assert {name: mine[name] for name in known} == pytest.approx(known, abs=1e-5)
    assert "xai/heatmap_drift" in again.history[2]


def test_training_is_what_it_was_without():
    def weights(*callbacks):
        torch.manual_seed(5)
        module = Module()
        fit(*callbacks, module=module, val=loader(), max_epochs=2)
        return module.state_dict()

    expected = weights()
    found = weights(monitor(given=[InsertionDeletion(4)]))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
