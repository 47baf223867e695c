"""What labels, masks and boxes are is decided by all of the first validation, or said to be undecided."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.nn import functional as F

from lightning_xai import ExplanationMonitor, Readout, Sample
from lightning_xai.metrics import InsertionDeletion, PointingGame, RelevanceMassAccuracy
from lightning_xai.probing import sample_from_batch
from tests.callbacks._tiny import CLASSES, NO_PICTURES, Module, Squares, fit

COUNT = 6


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Unlearning(Module):
    """Validates without looking at the labels, whatever their form, and does not train."""

    def __init__(self, classes=CLASSES):
        super().__init__(classes)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for parameter in self.net.parameters():
                nn.init.normal_(parameter, std=0.6)

    def training_step(self, batch, batch_idx):
        return self(batch[0]).sum() * 0.0

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self(batch[0] if isinstance(batch, (list, tuple)) else batch["image"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def explained(loader, *, classes=CLASSES, metrics=None, folder=None, **settings):
    metrics = [InsertionDeletion(4)] if metrics is None else metrics
    ours = ExplanationMonitor(metrics=metrics, num_images=COUNT, reports=NO_PICTURES, on_error="raise", **settings)
    fit(ours, module=Unlearning(classes), train=Squares().loader(), val=loader, default_root_dir=folder)
    return ours.latest


DATA = Squares(12)
HOT = F.one_hot(DATA.labels, CLASSES).float()


class TestLabels:
    @pytest.fixture(scope="class")
    def truth(self, tmp_path_factory):
        return explained(DATA.loader(), folder=tmp_path_factory.mktemp("truth"))

    @pytest.mark.parametrize(
        "labels",
        [
            pytest.param(HOT, id="one-hot"),
            pytest.param(HOT.long(), id="one-hot integers"),
            pytest.param(0.9 * HOT + 0.1 / CLASSES, id="smoothed"),
            pytest.param(0.4 * HOT + 0.6 / CLASSES, id="so smooth that nothing is above a half"),
            pytest.param(DATA.labels.float(), id="floats"),
            pytest.param(DATA.labels[:, None], id="a column"),
        ],
    )
    def test_other_forms_of_class_indices_give_the_same_numbers(self, truth, labels):
        found = explained(DATA.loader(labels))
        assert found.task == "multiclass"
        assert found.loaders[0].keys.tolist() == truth.loaders[0].keys.tolist()
        for key in ("xai/faithfulness", "xai/probe_accuracy", "xai/probe_confidence"):
            assert found[key] == pytest.approx(truth[key])

    def test_a_batch_that_looks_one_hot_does_not_decide(self):
        labels = HOT.clone()
        labels[-1] = 1.0  # the first two batches of three look one-hot
        found = explained(DATA.loader(labels))
        assert found.task == "multilabel"
        assert 0.0 < found["xai/probe_confidence"] < 1.0

    def test_rare_findings_and_none_are_multilabel(self):
        labels = torch.zeros(12, CLASSES)
        labels[3, 1] = 1.0
        assert explained(DATA.loader(labels)).task == "multilabel"

    def test_the_setting_decides(self):
        assert explained(DATA.loader(HOT), readout=Readout(task="multilabel")).task == "multilabel"

    def test_rows_that_are_no_distribution_contradict_the_setting(self):
        with pytest.raises(ValueError, match=r"distributions over the classes.*Set Readout\(task='multilabel'\)"):
            explained(DATA.loader(torch.ones(12, CLASSES)), readout=Readout(task="multiclass"))

    @pytest.mark.parametrize("smooth", [0.0, 0.05, 0.3])
    def test_smoothed_labels_of_two_classes(self, smooth):
        labels = (DATA.labels % 2).float()
        plain = explained(DATA.loader(labels.long()), classes=1)
        found = explained(DATA.loader((1 - 2 * smooth) * labels + smooth), classes=1)
        assert found.task == "binary"
        assert found["xai/probe_accuracy"] == plain["xai/probe_accuracy"]
        assert found.loaders[0].labels.tolist() == plain.loaders[0].labels.tolist()

    @pytest.mark.parametrize("column", [False, True])
    def test_signs_of_two_classes_are_not_taken_for_unknown_labels(self, column):
        signs = (DATA.labels % 2).float() * 2 - 1
        with pytest.raises(MisconfigurationException, match=r"to be 0 and 1, but all .* are -1.*\(labels > 0\)"):
            explained(DATA.loader(signs[:, None] if column else signs), classes=1)

    @pytest.mark.parametrize(
        ("classes", "labels"),
        [
            pytest.param(1, torch.tensor([0, 1, -1]).repeat(4), id="two classes, and some unknown"),
            pytest.param(1, torch.ones(12, dtype=torch.int64), id="one of two classes"),
            pytest.param(CLASSES, torch.tensor([1, 1, -1]).repeat(4), id="one of three, and some unknown"),
            pytest.param(2, torch.tensor([[0.0, 0.0], [0.0, 1.0]]).repeat(6, 1), id="one of two findings, or none"),
        ],
    )
    def test_unknown_labels_are_no_signs(self, classes, labels):
        assert explained(DATA.loader(labels), classes=classes)

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (torch.stack([DATA.labels, DATA.labels // 2], 1), "columns of several tasks"),
            (torch.stack([DATA.labels % 2, DATA.labels // 2], 1), r"a column per class of the model, 3, but got 2"),
            (DATA.labels + 0.5, r"class indices, or fractions in \[0, 1\] of two classes, but got 0.5"),
            (torch.rand(12, 5), "a column per class of the model, 3, but got 5"),
            (-HOT, r"a number in \[0, 1\] for each class"),
        ],
    )
    def test_what_cannot_be_labels_is_said_before_training(self, labels, said):
        with pytest.raises(ValueError, match=said):
            explained(DATA.loader(labels))

    @pytest.mark.parametrize(
        "before",
        [
            pytest.param(torch.tensor([[63.0, 1.0, 0.0]]).expand(12, 3), id="columns of metadata"),
            pytest.param(torch.arange(12), id="an index"),
            pytest.param(torch.arange(40, 52), id="an index from elsewhere"),
            pytest.param(torch.rand(12) * 7 + 0.5, id="a weight"),
        ],
    )
    def test_what_stands_between_image_and_label_is_not_taken_for_it(self, truth, before):
        found = explained(DATA.loader(before, DATA.labels))
        assert found["xai/probe_accuracy"] == truth["xai/probe_accuracy"]
        assert found.loaders[0].labels.tolist() == truth.loaders[0].labels.tolist()


def localized(loader, **settings):
    found = explained(loader, metrics=[PointingGame(), RelevanceMassAccuracy()], **settings)
    return [found[f"xai/{name}"] for name in ("pointing_game", "relevance_mass_accuracy")]


class TestAnnotations:
    @pytest.fixture(scope="class")
    def truth(self, tmp_path_factory):
        return localized(DATA.loader(DATA.labels, DATA.masks), folder=tmp_path_factory.mktemp("truth"))

    @pytest.mark.parametrize(
        "masks",
        [
            pytest.param(DATA.masks.long() * 255, id="0 and 255"),
            pytest.param(DATA.masks.float() * 2 - 1, id="-1 and 1"),
            pytest.param((DATA.masks.float() * 2 - 1)[:, None], id="-1 and 1 in a plane"),
            pytest.param((DATA.masks.long() - (DATA.masks.long() == 0).long())[:, None], id="void is -1"),
        ],
    )
    def test_what_is_above_0_is_the_object(self, truth, masks):
        assert localized(DATA.loader(DATA.labels, masks)) == pytest.approx(truth)

    @pytest.mark.parametrize(
        ("annotation", "said"),
        [
            (torch.where(DATA.masks, 1, 2), "every pixel of every image is marked"),
            (torch.stack([~DATA.masks, DATA.masks], 1), "every pixel of every image is marked"),
            (torch.where(DATA.masks, 1, 255), "every pixel of every image is marked|got 1 and 255"),
            (torch.where(DATA.masks, 1, 0).index_fill(1, torch.tensor([0]), 255), "got 1 and 255"),
            (F.interpolate(DATA.masks[:, None].float(), size=24)[:, 0], r"a part of shape \(4, 24, 24\)"),
            (DATA.boxes / 16, "no coordinate is greater than 1"),
        ],
    )
    def test_other_conventions_are_said_before_training(self, annotation, said):
        with pytest.raises(ValueError, match=said):
            localized(DATA.loader(DATA.labels, annotation))

    def test_boxes_that_are_filled_up_with_zeros(self):
        filled = torch.cat([DATA.boxes[:, None], torch.zeros(12, 2, 4)], 1)
        assert localized(DATA.loader(DATA.labels, filled)) == localized(DATA.loader(DATA.labels, DATA.boxes))


class WithClasses(torch.utils.data.Dataset):
    """Each image has the square of its class and, elsewhere, that of another; both are labels."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        label = int(DATA.labels[index])
        other = (label + 1) % CLASSES
        masks = torch.zeros(CLASSES, 16, 16, dtype=torch.bool)
        for which in (label, other):
            masks[which, 1 + 5 * which : 5 + 5 * which, 1 + 5 * which : 5 + 5 * which] = True
        boxes = [[1.0 + 5 * c, 1.0 + 5 * c, 5.0 + 5 * c, 5.0 + 5 * c] for c in (other, label)]
        hot = torch.zeros(CLASSES)
        hot[[label, other]] = 1.0
        return {
            "image": DATA.images[index],
            "label": hot,
            "masks": masks,
            "boxes": torch.tensor(boxes),
            "classes": [other, label],
        }


def collated(kind):
    def collate(items):
        batch = {
            "image": torch.stack([one["image"] for one in items]),
            "label": torch.stack([one["label"] for one in items]),
        }
        if kind == "masks":
            return batch | {"masks": torch.stack([one["masks"] for one in items])}
        if kind == "no classes":
            return batch | {"masks": torch.stack([one["masks"].any(0) for one in items])}
        return batch | {"boxes": [one["boxes"] for one in items], "box_labels": [one["classes"] for one in items]}

    return torch.utils.data.DataLoader(WithClasses(), batch_size=4, collate_fn=collate)


class TestClassesOfAnnotations:
    """Only the annotation of the explained class is scored."""

    def by_hand(self, found):
        """The share of positive heat on the square of each image's explained class, from the small heatmaps."""
        explained_here = found.loaders[0]
        heat = explained_here.heatmaps["grad_cam"].double().relu()
        shares = []
        for one, target in zip(heat, explained_here.target.tolist(), strict=True):
            inside = one[1 + 5 * target : 5 + 5 * target, 1 + 5 * target : 5 + 5 * target].sum()
            shares.append((inside / one.sum()).item())
        return torch.tensor(shares).nanmean().item()

    @pytest.mark.parametrize("kind", ["masks", "boxes"])
    def test_of_several_findings(self, kind):
        found = explained(collated(kind), metrics=[RelevanceMassAccuracy()])
        assert found.task == "multilabel"
        assert found["xai/relevance_mass_accuracy"] == pytest.approx(self.by_hand(found), abs=2e-3)

    def test_annotations_without_a_class_are_all_scored_with_one_warning(self):
        with pytest.warns(UserWarning, match="against the annotations of all classes") as caught:
            found = explained(collated("no classes"), metrics=[RelevanceMassAccuracy()])
        assert sum("annotations of all classes" in str(one.message) for one in caught) == 1
        assert found["xai/relevance_mass_accuracy"] > self.by_hand(found) + 0.02

    def test_a_label_for_each_box(self):
        with pytest.raises(ValueError, match="a label for each of the 2 boxes of image 0, but got 1"):
            Sample(DATA.images[:1], boxes=[torch.tensor([[0.0, 0, 2, 2], [1, 1, 5, 5]])], box_labels=[[1]])

    def test_names_are_read_from_a_batch(self):
        sample = sample_from_batch((DATA.images[:2], DATA.labels[:2], ["a.png", "b.png"]))
        assert sample.ids == ("a.png", "b.png")
        assert sample.first().ids == ("a.png",)
        with pytest.raises(ValueError, match="`ids` of the batch for 2 images, but got 1"):
            Sample(DATA.images[:2], ids=["a"])


def test_the_error_comes_before_training():
    """An error of configuration is raised by the sanity check, whatever `on_error` says."""
    ours = ExplanationMonitor(metrics=[InsertionDeletion(4)], num_images=COUNT, reports=NO_PICTURES)
    trainer = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[ours]
    )
    labels = torch.stack([DATA.labels, DATA.labels // 2], 1)
    with pytest.raises((ValueError, MisconfigurationException), match="columns of several tasks"):
        trainer.fit(Unlearning(), DATA.loader(), DATA.loader(labels))
    assert trainer.global_step == 0
