"""Groups and what is broken down by them and by classes, through a real Trainer."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, Readout, Sample
from lightning_xai.metrics import InsertionDeletion, Sparseness
from lightning_xai.reports import History, Scalars
from tests.callbacks._runs import Attendance, in_epochs
from tests.callbacks._tiny import CLASSES, NO_PICTURES, Dicts, Module, Squares, cheap, fit, trainer_of, values

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
COUNT, NAMES = 24, ("north", "south")
DATA = Squares(COUNT, seed=3)
SITES = [NAMES[(i // 3) % 2] for i in range(COUNT)]


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)


def mappings(**columns):
    return DataLoader(Dicts(image=DATA.images, label=DATA.labels, **columns), 4)


def by_key(loader=None):
    return mappings(site=SITES) if loader is None else loader


def monitor(explainers="grad_cam", metrics=None, **settings):
    given = {"num_images": 12, "reports": NO_PICTURES, "groups": "site", "on_error": "raise"} | settings
    return ExplanationMonitor(explainers, cheap() if metrics is None else metrics, **given)


def rows_of(name, folder="."):
    with Path(folder, name).open(newline="") as file:
        return list(csv.DictReader(file))


def mean_and_error(numbers):
    """The mean of the numbers that are known, its standard error, and how many are not."""
    known = [one for one in numbers if one is not None]
    mean = math.fsum(known) / len(known) if known else math.nan
    variance = math.fsum((one - mean) ** 2 for one in known) / (len(known) - 1) if len(known) > 1 else math.nan
    return mean, math.sqrt(variance / max(len(known), 1)), len(numbers) - len(known)


def broken_down(ours, metric, by, explainer="grad_cam"):
    """Values and errors by class or group, from the file of images and its random control."""
    found = {}
    rows = rows_of("xai_images.csv")
    last = max(int(row["epoch"]) for row in rows)
    rows = [row for row in rows if int(row["epoch"]) == last]
    base = metric.removesuffix("_gain")
    own = {row["image"]: row for row in rows if row["metric"] == base and row["explainer"] == explainer}
    control = {row["image"]: row for row in rows if row["metric"] == base and row["explainer"] == "control"}
    for image, row in own.items():
        both = [row["value"], control[image]["value"] if base != metric else "0.0"]
        value = None if "" in both else float(both[0]) - float(both[1])
        found.setdefault(row["label" if by == "class" else "group"], []).append(value)
    return {name: mean_and_error(numbers) for name, numbers in found.items()}


def from_worst(parts):
    """Values and errors of those with two or more known numbers, the least first."""
    return sorted(part for part in parts.values() if not math.isnan(part[1]))


class TestOneRun:
    """A fit whose batches say the site of each image."""

    @pytest.fixture(scope="class")
    @staticmethod
    def run(tmp_path_factory):
        folder = tmp_path_factory.mktemp("groups")
        torch.manual_seed(6)  # some maps are blank: of one class all, of another all but one
        ours = monitor(breakdown=["faithfulness_gain", "sparseness"])
        trainer = fit(ours, val=by_key(), default_root_dir=folder, max_epochs=2)
        return ours, trainer, folder

    @pytest.fixture(autouse=True)
    def _there(self, run, monkeypatch):
        monkeypatch.chdir(run[2])

    def test_the_probe_has_as_many_images_of_each_class_and_group(self, run):
        found = run[0].latest.loaders[0]
        cells = list(zip(found.labels.tolist(), found.groups, strict=True))
        assert Counter(cells) == {(label, site): 2 for label in range(CLASSES) for site in NAMES}

    @pytest.mark.parametrize("metric", ["faithfulness", "faithfulness_gain", "sparseness"])
    @pytest.mark.parametrize("by", ["class", "group"])
    def test_values_and_errors_are_those_of_the_rows(self, run, metric, by):
        expected = broken_down(run[0], metric, by)
        latest = run[0].latest
        found = latest.by_class(metric) if by == "class" else latest.by_group(metric)
        assert {str(name): (one.value, one.error, one.undefined) for name, one in found.items()} == {
            name: pytest.approx(pair, abs=1e-6, nan_ok=True) for name, pair in expected.items()
        }
        told = [
            row for row in rows_of("xai_breakdown.csv") if (row["epoch"], row["metric"], row["by"]) == ("1", metric, by)
        ]
        numbers = ("value", "error", "undefined")
        assert {row["name"]: tuple(float(row[one] or "nan") for one in numbers) for row in told} == {
            name: pytest.approx(pair, abs=1e-6, nan_ok=True) for name, pair in expected.items()
        }
        assert all(int(row["images"]) == 12 / len(expected) for row in told)

    def test_worst_and_gap_are_logged_with_their_errors(self, run):
        ours, trainer, _ = run
        (*_, row) = rows_of("xai_history.csv")
        for metric in ("faithfulness_gain", "sparseness"):
            groups = from_worst(broken_down(ours, metric, "group"))
            classes = from_worst(broken_down(ours, metric, "class"))
            assert values(trainer)[f"worst_class/{metric}"] == pytest.approx(classes[0][0], abs=1e-6)
            assert values(trainer)[f"worst_group/{metric}"] == pytest.approx(groups[0][0], abs=1e-6)
            assert values(trainer)[f"gap/{metric}"] == pytest.approx(groups[-1][0] - groups[0][0], abs=1e-6)
            error = math.hypot(groups[0][1], groups[-1][1])
            assert float(row[f"xai/gap/{metric}_se"]) == pytest.approx(error, abs=1e-6)
            assert float(row[f"xai/worst_group/{metric}_se"]) == pytest.approx(groups[0][1], abs=1e-6)
        assert "worst_class/faithfulness" not in values(trainer)  # not named

    def test_all_epochs_are_told(self, run):
        rows = rows_of("xai_breakdown.csv")
        per_epoch = (len(cheap()) + 1) * (CLASSES + len(NAMES))
        assert [sum(row["epoch"] == epoch for row in rows) for epoch in ("0", "1")] == [per_epoch] * 2

    def test_earlier_epochs_know_their_groups(self, run):
        first = run[0].history[0]
        assert first.by_group("faithfulness").keys() == set(NAMES)
        assert run[0].latest.by_group("faithfulness") != first.by_group("faithfulness")


def test_off_costs_nothing():
    """Neither files nor keys nor evaluations know of groups where there are none."""
    plain = monitor(groups=None)
    trainer = fit(plain, val=by_key())
    assert sorted(path.name for path in Path().glob("xai*")) == ["xai_history.csv", "xai_images.csv"]
    assert "group" not in rows_of("xai_images.csv")[0]
    spent = values(trainer)
    assert not [key for key in spent if key.startswith(("worst", "gap"))]
    assert plain.latest.loaders[0].groups is None
    assert plain.latest.by_group("faithfulness") == {}
    grouped = values(fit(monitor(breakdown="faithfulness"), val=by_key()))
    assert grouped["model_evaluations"] == spent["model_evaluations"]
    assert grouped.keys() - spent.keys() == {f"{one}/faithfulness" for one in ("worst_class", "worst_group", "gap")}


class TestMonitors:
    def test_stand_ins_until_there_is_a_value(self):
        attendance = Attendance()
        ours = monitor(in_epochs("raises", 0), breakdown="faithfulness_gain", on_error="warn")
        stop = EarlyStopping("xai/worst_group/faithfulness_gain", mode="max", patience=9)
        keep = ModelCheckpoint("kept", monitor="xai/gap/faithfulness_gain", mode="min", filename="{epoch}")
        with pytest.warns(UserWarning, match="ExplanationMonitor logs nothing for epoch 0"):
            fit(ours, stop, keep, attendance, val=by_key(), max_epochs=3, enable_checkpointing=True)
        seen = [seen for _, seen in attendance.seen]
        assert seen[0]["xai/worst_group/faithfulness_gain"] == seen[0]["xai/worst_class/faithfulness_gain"] == -2.0
        assert seen[0]["xai/gap/faithfulness_gain"] == 4.0
        assert float(stop.best_score) == max(one["xai/worst_group/faithfulness_gain"] for one in seen)
        assert float(keep.best_model_score) == min(one["xai/gap/faithfulness_gain"] for one in seen[1:])

    def test_a_key_of_groups_that_no_batch_has_is_refused_with_those_that_there_are(self):
        stop = EarlyStopping("xai/worst_group/faithfulness", mode="max")
        ours = monitor(groups=None, breakdown="faithfulness")
        with pytest.raises(MisconfigurationException, match=r"got 'xai/worst_group/faithfulness'.*xai/worst_class/"):
            fit(ours, stop, val=by_key())

    def test_the_direction_of_a_gap_is_known(self):
        keep = ModelCheckpoint("kept", monitor="xai/gap/faithfulness", mode="max")
        with pytest.warns(UserWarning, match="'xai/gap/faithfulness' with mode='max', whose best value is its minimum"):
            fit(monitor(breakdown="faithfulness"), keep, val=by_key(), enable_checkpointing=True)

    def test_what_is_no_name_is_said(self):
        with pytest.raises(TypeError, match="Expected `breakdown` to hold names of metrics, but got int"):
            monitor(breakdown=[3])
        with pytest.raises(ValueError, match=r"Expected `breakdown` to be one of .*'faithfulness_gain'"):
            monitor(breakdown="pointing_game")


class TestWhereGroupsAreMissing:
    def test_a_fit_ends_before_training(self):
        with pytest.raises(ValueError, match=r"groups='site' to be a key of the validation's batches.*image, label"):
            fit(monitor(), val=mappings())
        with pytest.raises(ValueError, match=r"groups='site' to be a key .* which is a list without keys"):
            fit(monitor(), val=DATA.loader())

    @pytest.mark.parametrize("stage", ["validate", "test"])
    def test_another_stage_goes_without(self, stage):
        ours = monitor(breakdown="faithfulness")
        trainer = fit(ours, val=by_key())
        with pytest.warns(UserWarning, match=f"by groups in this {stage}. Expected groups='site'") as said:
            getattr(trainer, stage)(trainer.lightning_module, mappings(), verbose=False)
        assert sum("by groups" in str(one.message) for one in said) == 1
        assert ours.latest.loaders[0].groups is None
        found = values(trainer)
        assert "worst_group/faithfulness" not in found
        classes = [one.value for one in ours.latest.by_class("faithfulness").values()]
        assert found["gap/faithfulness"] == pytest.approx(max(classes) - min(classes))
        assert {row["by"] for row in rows_of(f"xai_breakdown_{stage}.csv")} == {"class"}

    def test_one_of_several_loaders(self):
        with pytest.raises(ValueError, match="groups='site' to be a key"):
            fit(monitor(), val=[by_key(), mappings()])
        ours = monitor(groups=lambda batch: batch.get("site"), breakdown="sparseness")
        found = values(fit(ours, val=[by_key(), mappings()]))
        assert [ours.latest.loaders[i].groups is None for i in (0, 1)] == [False, True]
        assert "worst_group/sparseness/dataloader_idx_0" in found
        assert "worst_group/sparseness/dataloader_idx_1" not in found
        spread = [
            [one.value for one in by.values()]
            for by in (ours.latest.by_group("sparseness"), ours.latest.by_class("sparseness", loader=1))
        ]
        for index, of_loader in enumerate(spread):
            assert found[f"gap/sparseness/dataloader_idx_{index}"] == pytest.approx(max(of_loader) - min(of_loader))

    def test_a_group_that_is_none_is_said_before_training(self):
        with pytest.raises(TypeError, match=r"Expected `groups=` to be whole numbers or texts, but got None"):
            fit(monitor(groups=lambda batch: [None] * 4), val=by_key())


class TestWhereGroupsComeFrom:
    def test_the_same_probe_whatever_the_form(self):
        numbers = (torch.arange(COUNT) // 3) % 2
        found = []
        for groups, loader in (
            ("site", mappings(site=numbers)),
            (lambda batch: batch["site"].tolist(), mappings(site=numbers)),
            (lambda batch: batch[2], DATA.loader(DATA.labels, numbers)),
        ):
            ours = monitor(groups=groups, metrics=[Sparseness()])
            fit(ours, val=loader)
            found.append((ours.latest.loaders[0].keys.tolist(), ours.latest.loaders[0].groups))
        assert found == [found[0]] * 3
        assert sorted(found[0][1]) == ["0"] * 6 + ["1"] * 6

    def test_a_sample_of_the_users_own(self):
        def read(batch):
            return Sample(batch["image"], batch["label"], groups=batch["site"])

        ours = monitor(groups=None, sample_from_batch=read, breakdown="sparseness")
        found = values(fit(ours, val=by_key()))
        assert set(ours.latest.loaders[0].groups) == set(NAMES)
        assert "worst_group/sparseness" in found

    def test_private_keeps_groups_and_no_ids(self):
        ours = monitor(private=True)
        fit(ours, val=mappings(site=SITES, id=[f"patient {i}" for i in range(COUNT)]))
        assert ours.latest.loaders[0].ids is None
        assert {row["group"] for row in rows_of("xai_images.csv")} == set(NAMES)
        assert {row["id"] for row in rows_of("xai_images.csv")} == {""}

    def test_a_function_leaves_no_trace(self):
        def draws(batch):
            torch.rand(3)
            return batch["site"]

        weights, train = [], DataLoader(Dicts(image=DATA.images, label=DATA.labels), 4, shuffle=True)
        for groups in (draws, "site"):
            torch.manual_seed(0)
            trainer = fit(monitor(groups=groups), val=by_key(), train=train)
            weights.append(trainer.lightning_module.state_dict())
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_class_of_multilabel_data_is_the_one_an_image_stands_for():
    labels = F.one_hot(DATA.labels, CLASSES).float()
    labels[::4, 1] = 1.0
    loader = DataLoader(Dicts(image=DATA.images, label=labels, site=SITES), 4)
    ours = monitor(metrics=[InsertionDeletion(4)], breakdown="faithfulness", readout=Readout(task="multilabel"))
    fit(ours, val=loader)
    found = ours.latest.loaders[0]
    rows = found.rows["grad_cam"]["faithfulness"]
    for label, one in ours.latest.by_class("faithfulness").items():
        assert one.value == pytest.approx(float(rows[found.labels == label].mean()), abs=1e-6)


class TestResume:
    def halves(self, groups_after="site", names=SITES):
        saving = ModelCheckpoint("saved", filename="saved")
        fit(monitor(breakdown="faithfulness"), saving, val=by_key(), max_epochs=2, enable_checkpointing=True)
        again = monitor(groups=groups_after, breakdown="faithfulness")
        module, loader = Module(), mappings(site=names)
        trainer = trainer_of(again, max_epochs=3)
        trainer.fit(module, loader, loader, ckpt_path="saved/saved.ckpt")
        return again

    def test_history_goes_on_with_groups(self):
        again = self.halves()
        assert [epoch.epoch for epoch in again.history] == [0, 1, 2]
        assert [epoch.loaders[0].groups for epoch in again.history] == [again.latest.loaders[0].groups] * 3
        assert {row["epoch"] for row in rows_of("xai_breakdown.csv")} == {"0", "1", "2"}
        assert all("xai/worst_group/faithfulness" in epoch for epoch in again.history)
        state = torch.load("saved/saved.ckpt", weights_only=True)["callbacks"][again.state_key]
        assert state["probes"]["0"]["groups"] == state["epochs"][0]["loaders"]["0"]["groups"]

    @pytest.mark.parametrize("change", ["names", "off"])
    def test_other_groups_are_another_probe(self, change):
        with pytest.warns(UserWarning, match=r"restored probe again \(other data, groups, precision"):
            again = self.halves(*([None] if change == "off" else ["site", ["one"] * COUNT]))
        after = None if change == "off" else {"one"}
        assert (again.latest.loaders[0].groups and set(again.latest.loaders[0].groups)) == after
        assert set(again.history[0].loaders[0].groups) == set(NAMES)
        (*_, last) = rows_of("xai_images.csv")
        assert last["group"] == ("" if change == "off" else "one")


def test_without_rows_of_images():
    ours = monitor(reports=[Scalars(), History(images=False)])
    fit(ours, val=by_key())
    assert sorted(path.name for path in Path().glob("xai*")) == ["xai_breakdown.csv", "xai_history.csv"]
