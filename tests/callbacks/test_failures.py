"""The images that the report of failures is told of, in real runs."""

from __future__ import annotations

import warnings

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_xai import GradCAM
from lightning_xai.callbacks.steps import failures
from lightning_xai.callbacks.steps.failures import worth_of_failures
from lightning_xai.probing.plan import Plan
from lightning_xai.reports import Failures, History, HtmlReport, Maps, Report, Scalars
from tests.callbacks._clock import Clock
from tests.callbacks._runs import Images, differing, loader, monitor, train
from tests.callbacks._two_processes import Drifting


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Told(Report):
    """Keeps what it is told of failures, and asks for them."""

    wants_validation_logits = True

    def __init__(self, count=4, followed=()):
        self.told, self.validations, self._count, self._followed = [], [], count, followed

    def num_failures(self):
        return self._count

    def followed_images(self):
        return self._followed

    def publish(self, epoch, run):
        self.told.append(run.failures)
        self.validations.append(run.validation)


class Named(Images):
    """Says what each image is known by."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return {"image": image, "label": label, "id": f"scan {index}"}


class OfMapping(Drifting):
    def training_step(self, batch, batch_idx):
        return super().training_step((batch["image"], batch["label"]), batch_idx)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.training_step(batch, batch_idx))


def fit(*reports, data=None, make=Drifting, **settings):
    data = loader(30, seed=1) if data is None else data
    ours = monitor(settings.pop("explainers", "grad_cam"), reports=list(reports), **settings.pop("ours", {}))
    run = train([ours], make, val_loader=data, **{"max_epochs": 3, **settings})
    return ours, run


def test_they_are_those_of_the_validations_own_logits():
    told = Told()
    fit(told, data=loader(30, seed=1, batch_size=7, shuffle=True), max_epochs=8)
    before = None
    for of_epoch, validation in zip(told.told, told.validations, strict=True):
        shown, found = of_epoch[0], validation[0]
        losses = dict(zip(found.keys.tolist(), found.losses.tolist(), strict=True))
        right = dict(zip(found.keys.tolist(), found.correct.tolist(), strict=True))
        assert len(shown) == len({one.candidate.key for one in shown}) == 4
        for one in shown:
            key = one.candidate.key
            assert right[key] == (one.kind == "newly right")
            if one.kind in {"newly wrong", "newly right"}:
                assert before[key] is not right[key]
        most = sorted((key for key, correct in right.items() if not correct), key=losses.get, reverse=True)
        confident = [one.candidate.key for one in shown if one.kind == "confidently wrong"]
        others = {one.candidate.key for one in shown} - set(confident)
        assert confident == [key for key in most if key not in others][: len(confident)]
        before = right
    kinds = {one.kind for of_epoch in told.told[1:] for one in of_epoch[0]}
    assert kinds & {"newly wrong", "newly right"}
    assert not {one.kind for one in told.told[0][0]} & {"newly wrong", "newly right"}


def test_heat_is_of_the_label_and_of_the_prediction():
    told = Told()
    _, run = fit(told, max_epochs=1)
    model = run.module.eval()
    for one in told.told[-1][0]:
        found = one.candidate
        image = found.item.image[None]
        for maps, target in zip(one.heatmaps["grad_cam"], (found.label, found.predicted), strict=True):
            torch.testing.assert_close(maps, GradCAM()(model, image, target)[0], rtol=1e-4, atol=1e-5)


def test_training_is_what_it_was_and_the_probe_is_not_touched(tmp_path):
    def settings():
        return {"val_loader": loader(30, seed=1), "max_epochs": 2, "default_root_dir": tmp_path}

    plain = train([], Drifting, **settings()).state()
    with_us, without = monitor(reports=[Failures(), History()]), monitor(reports=[History()])
    assert differing(train([with_us], Drifting, **settings()).state(), plain) == []
    train([without], Drifting, **settings())
    for ours, others in zip(with_us.history, without.history, strict=True):
        rows = [{k: v for k, v in one.items() if not k.endswith(("seconds", "evaluations"))} for one in (ours, others)]
        assert rows[0] == rows[1]


def test_what_they_cost_is_counted():
    told, count = Told(count=4), 4
    with_them, _ = fit(told, Scalars(), max_epochs=1)
    without, _ = fit(Scalars(), max_epochs=1)
    shown = told.told[0][0]
    assert len(shown) == count
    extra = with_them.history[0]["xai/model_evaluations"] - without.history[0]["xai/model_evaluations"]
    assert extra == 2 * count  # Grad-CAM evaluates an image once for each class


def test_followed_images_are_told_of_whatever_the_model_says():
    data = DataLoader(Named(30, seed=1), 4)
    told = Told(count=2, followed=["scan 7", "scan 21"])
    training = DataLoader(Named(16), 4)
    fit(told, data=data, make=OfMapping, train_loader=training)
    for shown in told.told:
        assert [one.candidate.item.id for one in shown[0] if one.kind == "followed"] == ["scan 21", "scan 7"]
        assert len(shown[0]) == 4


def test_the_picture_and_its_place_in_the_report_of_the_run(tmp_path):
    ours, _ = fit(Maps(), Failures(num_images=3, cell_size=32), HtmlReport(), default_root_dir=tmp_path, max_epochs=2)
    last = ours.history[-1]
    path = tmp_path / "xai" / "failures" / f"epoch={last.epoch:04d}-step={last.step:08d}.png"
    with Image.open(path) as picture:
        picture.load()
        said = picture.info["Description"]
    assert said.startswith("failures · epoch 1 · step ")
    assert said.count("probability") >= 3
    text = (tmp_path / "xai_report.html").read_text()
    assert 'id="failures"' in text
    assert said.split(";")[0] in text


def test_a_private_run_shows_none_and_copies_nothing(tmp_path):
    told = Told()
    fit(told, Failures(), ours={"private": True}, max_epochs=1)
    assert told.told == [{}]
    assert list(tmp_path.rglob("*.png")) == []


def test_an_error_costs_the_picture_and_not_the_scores():
    told = Told()
    ours = monitor(reports=[told])

    patch = pytest.MonkeyPatch()
    patch.setattr(failures, "with_heatmaps", lambda *_: 1 / 0)
    with patch.context(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train([ours], Drifting, val_loader=loader(30, seed=1), max_epochs=1)
    patch.undo()
    assert told.told == [{}]
    assert len(ours.history) == 1
    said = [str(one.message) for one in caught if "shows no failures" in str(one.message)]
    assert said == ["ExplanationMonitor shows no failures of epoch 0: rank 0: ZeroDivisionError: division by zero"]


def test_a_batch_that_cannot_be_looked_at_ends_no_validation(monkeypatch):
    monkeypatch.setattr(failures.FailureImages, "offer", lambda *_: 1 / 0)
    told = Told()
    with pytest.warns(UserWarning, match="shows no failures of this validation: ZeroDivisionError"):
        ours, _ = fit(told, max_epochs=1)
    assert told.told == [{0: []}]
    assert len(ours.history) == 1


def test_a_budget_counts_them_in_images_of_the_probe():
    plan = Plan("grad_cam", ["insertion_deletion"])
    of_image = plan.evaluations(annotated=False)
    assert worth_of_failures(plan, 8, annotated=False) == 8 * 2 / of_image  # a map of the label, one of the prediction
    both = Plan(["grad_cam", "saliency"], ["insertion_deletion"])
    assert worth_of_failures(both, 4, annotated=False) == 4 * 2 * 2 / both.evaluations(annotated=False)
    assert worth_of_failures(plan, 0, annotated=False) == 0
    untold = Plan("ablation_cam", ["insertion_deletion"])  # costs what the network has channels
    assert worth_of_failures(untold, 3, annotated=False) == 6


def test_fewer_images_are_chosen_beside_failures(monkeypatch):
    chosen = []
    for reports in ([Scalars()], [Scalars(), Failures(num_images=8)]):
        clock = Clock()
        with monkeypatch.context() as patch:
            clock.started(patch)
            ours = monitor(clock.explainer(0.15), num_images=32, max_overhead=0.05, reports=reports)
            train([ours, clock.training(20.0)], Drifting, val_loader=loader(40, seed=1), max_epochs=1)
        chosen.append(ours.effort.num_images)
    assert chosen[1] < chosen[0]


@pytest.mark.parametrize("name", ["num_images", "cell_size"])
def test_numbers_out_of_range(name):
    with pytest.raises(ValueError, match=name):
        Failures(**{name: 0})
