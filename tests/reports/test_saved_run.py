"""A run is read back from its folder as it was, and compared with another, image by image."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from lightning_xai import compare_runs, load_run
from lightning_xai.metrics import PointingGame
from lightning_xai.probing.explained import moment_of
from lightning_xai.reports import Filmstrip, History, HtmlReport, Maps, Report
from lightning_xai.reports.maps import file_of
from tests.callbacks._runs import Images, Net, loader, monitor, small_metrics, train

PER_IMAGE = ("keys", "labels", "target", "predicted", "probabilities")


class Keeping(Report):
    """Keeps every epoch as it was told: whole."""

    def __init__(self):
        self.told = []
        self.raw = []

    def publish(self, epoch, run):
        self.told.append(epoch)
        self.raw.append({name: maps.clone() for name, maps in run.heatmaps[0].items()})


class Graded(Net):
    """Logs an accuracy, and knows its classes."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx)
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())


def fit(folder, *reports, seed=1, **settings):
    given = {"max_epochs": 3, "default_root_dir": folder, "val_loader": loader(10, seed=seed, masks=True), **settings}
    kept = Keeping()
    metrics = [*small_metrics(), PointingGame()]
    ours = monitor(
        settings.pop("explainers", ["grad_cam", "saliency"]), metrics, reports=[*(reports or [Maps()]), kept]
    )
    given.pop("explainers", None)
    run = train([ours, *given.pop("callbacks", [])], Graded, **given)
    return kept, run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    kept, _ = fit(folder, History(), Maps(), Filmstrip(num_images=2, num_epochs=2, cell_size=32))
    return kept, load_run(folder), folder


def test_epochs_come_back_whole(saved):
    kept, run, _ = saved
    assert [moment_of(one) for one in run.epochs] == [moment_of(one) for one in kept.told]
    for read, told in zip(run.epochs, kept.told, strict=True):
        assert read == told
        assert (read.stage, read.task, read.evaluations, read.seconds) == (
            told.stage,
            told.task,
            told.evaluations,
            told.seconds,
        )
        ours, theirs = read.loaders[0], told.loaders[0]
        assert all(torch.equal(getattr(ours, name), getattr(theirs, name)) for name in PER_IMAGE)
        for explainer, by_metric in theirs.rows.items():
            assert torch.equal(ours.heatmaps[explainer], theirs.heatmaps[explainer])
            for metric, rows in by_metric.items():
                torch.testing.assert_close(ours.rows[explainer][metric], rows, equal_nan=True, rtol=0, atol=0)
                estimate = read.scores(metric, explainer).estimate()
                assert repr(estimate) == repr(told.estimates[f"xai/{explainer}/{metric}"])
        assert repr(ours.metrics) == repr(dict(theirs.metrics))


def test_kept_maps_are_the_heatmaps_in_small_and_in_their_own_units(saved):
    kept, run, _ = saved
    for read, raw in zip(run.epochs, kept.raw, strict=True):
        for explainer, maps in raw.items():
            found = read.loaders[0]
            again = found.heatmaps[explainer].float() * found.peaks[explainer][:, None, None]
            torch.testing.assert_close(again, maps, rtol=1e-3, atol=float(maps.abs().max()) * 1e-3)  # 8×8 is small


def test_what_else_a_run_leaves(saved):
    kept, run, folder = saved
    assert run.name == "/".join(folder.parts[-2:])
    assert {key: set(values) for key, values in run.logged.items()} == {moment_of(one): set() for one in kept.told}
    assert run.explainers["saliency"] == "Saliency(reduction='abs_max')"
    keys = kept.told[0].loaders[0].keys.tolist()
    assert list(run.pictures[0]) == keys
    assert {picture.shape for picture in run.pictures[0].values()} == {(8, 8, 3)}
    assert run.unknown_metrics == ()
    state = torch.load(folder / "xai_maps" / file_of(kept.told[0]), weights_only=True)
    assert state["epoch"] == 0


def test_pictures_are_the_images_at_most_so_large(tmp_path):
    halved = {"masks": True, "change": lambda image: image / 2}
    kept, _ = fit(tmp_path, Maps(size=4), max_epochs=1, val_loader=loader(4, seed=1, **halved))
    images = Images(4, seed=1, **halved)
    run = load_run(tmp_path)
    for index in range(4):
        small = torch.nn.functional.avg_pool2d((255 * images[index][0]).round(), 2)[0]
        assert any(float((picture[:, :, 0] - small).abs().max()) <= 0.5 for picture in run.pictures[0].values())
    assert len(kept.told) == 1


def test_metrics_that_no_file_can_hold_are_named_and_can_be_given(saved, tmp_path):
    _, run, folder = saved
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    index = json.loads((copy / "xai_maps" / "index.json").read_text())
    index["metrics"]["pointing_game"] = None
    (copy / "xai_maps" / "index.json").write_text(json.dumps(index))
    read = load_run(copy)
    assert read.unknown_metrics == ("pointing_game",)
    assert "pointing_game" not in read.epochs[0].loaders[0].rows["grad_cam"]
    assert read.epochs[0]["xai/grad_cam/pointing_game"] == run.epochs[0]["xai/grad_cam/pointing_game"]
    given = load_run(copy, metrics={"pointing_game": PointingGame()})
    assert given.unknown_metrics == ()
    assert repr(given.epochs[0].scores("pointing_game", "grad_cam").estimate()) == repr(
        run.epochs[0].scores("pointing_game", "grad_cam").estimate()
    )


def test_a_file_cannot_name_any_class(saved, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(saved[2], copy)
    index = json.loads((copy / "xai_maps" / "index.json").read_text())
    index["metrics"]["pointing_game"] = {"class_path": "subprocess.Popen", "init_args": {"args": ["false"]}}
    (copy / "xai_maps" / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"subprocess\.Popen to be a subclass of ExplanationMetric"):
        load_run(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "index.json").write_text('{"version": 99}'), "version 99, and this .* up to 1"),
        (lambda folder: (folder / "index.json").write_text("{"), "Expected the files in .*xai_maps"),
        (lambda folder: next(folder.glob("epoch=*")).unlink(), "No such file"),
    ],
)
def test_files_that_cannot_be_read_are_said(saved, tmp_path, change, said):
    copy = tmp_path / "copy"
    shutil.copytree(saved[2], copy)
    change(copy / "xai_maps")
    with pytest.raises((ValueError, OSError), match=said):
        load_run(copy)


def test_a_folder_without_a_run_names_those_that_have_one(saved):
    folder = saved[2]
    with pytest.raises(FileNotFoundError, match=f"which the report Maps.*There are runs in {folder}"):
        load_run(folder.parent)
    with pytest.raises(FileNotFoundError, match=r"xai_maps_test/index\.json"):
        load_run(folder, stage="test")


def test_two_runs_are_compared_on_the_images_that_both_know(saved, tmp_path):
    kept, run, _ = saved
    other, _ = fit(tmp_path / "other", Maps(), max_epochs=2, explainers=["grad_cam", "saliency"])
    with torch.no_grad():
        found = compare_runs(run, tmp_path / "other", "faithfulness", explainer="grad_cam")
    assert list(found.differences) == [0, 1]
    for epoch, told in found.differences.items():
        first, second = (one[epoch].loaders[0] for one in (kept.told, other.told))
        rows = {int(key): float(value) for key, value in zip(first.keys, _rows(first), strict=True)}
        pairs = [float(value) - rows[int(key)] for key, value in zip(second.keys, _rows(second), strict=True)]
        mean = sum(pairs) / len(pairs)
        error = math.sqrt(sum((one - mean) ** 2 for one in pairs) / (len(pairs) - 1) / len(pairs))
        assert told.value == pytest.approx(mean, abs=1e-6)
        assert told.error == pytest.approx(error, abs=1e-6)
    figure = found.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["faithfulness", "paired difference"]


def _rows(found):
    return found.rows["grad_cam"]["faithfulness"]


def test_runs_that_share_nothing_are_refused(saved, tmp_path):
    fit(tmp_path, seed=5, max_epochs=1)
    with pytest.raises(ValueError, match="explained the same images in some epoch"):
        compare_runs(saved[1], tmp_path, "faithfulness", explainer="grad_cam")
    with pytest.raises(ValueError, match="nowhere"):
        compare_runs(saved[1], saved[1], "nowhere", explainer="grad_cam")


def test_a_private_run_keeps_numbers_alone(tmp_path):
    ours = monitor("grad_cam", reports=[Maps(), Filmstrip()], private=True)
    train([ours], val_loader=loader(10, seed=1), default_root_dir=tmp_path)
    run = load_run(tmp_path)
    assert not run.pictures
    assert [one.loaders[0].heatmaps for one in run.epochs] == [{}, {}]
    assert run.epochs[1].scores("faithfulness").estimate().value == ours.history[1]["xai/faithfulness"]
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == sorted(
        ["index.json", *(file_of(one) for one in ours.history)]
    )


@pytest.mark.parametrize("elsewhere", [True, False], ids=["another folder", "maps were not kept before"])
def test_a_run_that_goes_on_without_its_files_is_read_back_and_told(tmp_path, elsewhere):
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    before, _ = fit(tmp_path / "run", History(), *([Maps()] if elsewhere else []), callbacks=[saving], max_epochs=2)
    folder = tmp_path / ("elsewhere" if elsewhere else "run")
    after, _ = fit(folder, Maps(), HtmlReport(), ckpt_path=tmp_path / "epoch=1.ckpt", max_epochs=4)
    run = load_run(folder)
    assert [one.epoch for one in run.epochs] == [0, 1, 2, 3]
    assert [bool(one.loaders[0].heatmaps) for one in run.epochs] == [False, False, True, True]
    for one, told in zip(run.epochs, [*before.told, *after.told], strict=True):
        assert dict(one) == dict(told)
        torch.testing.assert_close(
            one.scores("faithfulness", "saliency").rows, told.scores("faithfulness", "saliency").rows
        )
    (score, *_) = json.loads((folder / "xai_report.json").read_text())["scores"]
    assert [epoch["epoch"] for epoch in score["epochs"]] == [0, 1, 2, 3]


class TestFilmstrip:
    def test_a_strip_from_the_second_epoch_and_a_film_at_the_end(self, saved):
        folder = saved[2]
        strips = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
        ends = [file_of(one).replace(".pt", ".png") for one in saved[0].told[1:]]
        assert strips == sorted(f"xai/{name}/filmstrip/{end}" for name in ("grad_cam", "saliency") for end in ends)
        with Image.open(folder / "xai_grad_cam_filmstrip.webp") as film:
            assert film.n_frames == 3

    def test_a_long_run_has_fewer_strips_and_the_last_one(self, tmp_path):
        fit(tmp_path, Maps(), Filmstrip(num_images=1, num_epochs=2, cell_size=32), explainers="grad_cam", max_epochs=7)
        names = sorted(path.name for path in tmp_path.rglob("*.png"))
        assert [name.split("-")[0] for name in names] == [f"epoch=000{epoch}" for epoch in (1, 2, 3, 5, 6)]

    def test_a_resumed_run_goes_on_and_a_moved_one_starts_anew(self, tmp_path, caplog):
        folder, reports = tmp_path / "run", [Maps(), Filmstrip(num_images=2, cell_size=32)]
        saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        fit(folder, *reports, callbacks=[saving], max_epochs=4)  # is killed in epoch 3: what is left there is repeated
        resumed = {"ckpt_path": tmp_path / "epoch=1.ckpt", "max_epochs": 4}
        fit(folder, *reports, **resumed)
        assert [one.epoch for one in load_run(folder).epochs] == [0, 1, 2, 3]
        with Image.open(folder / "xai_grad_cam_filmstrip.webp") as film:
            assert film.n_frames == 4
        with caplog.at_level("INFO"):
            fit(tmp_path / "elsewhere", *reports, **resumed)
        said = [one.message for one in caplog.records if "filmstrip starts" in one.message]
        assert len(said) == 1
        assert said[0].startswith("The filmstrip starts at epoch 2: ")
        with Image.open(tmp_path / "elsewhere" / "xai_grad_cam_filmstrip.webp") as film:
            assert film.n_frames == 2

    def test_the_maps_of_a_run_that_went_further_are_not_read(self, tmp_path):
        saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        fit(tmp_path / "run", callbacks=[saving], max_epochs=4)
        fit(tmp_path / "run", ckpt_path=tmp_path / "epoch=0.ckpt", max_epochs=2)
        assert len(list((tmp_path / "run" / "xai_maps").glob("epoch=*"))) == 4
        assert [one.epoch for one in load_run(tmp_path / "run").epochs] == [0, 1]

    @pytest.mark.parametrize("name", ["num_images", "num_epochs", "cell_size"])
    def test_numbers_out_of_range(self, name):
        with pytest.raises(ValueError, match=name):
            Filmstrip(**{name: 0})


def test_a_remote_run_is_read_back(tmp_path):
    kept, _ = fit("memory://saved", Maps(), Filmstrip(num_images=1, cell_size=32), max_epochs=2)
    assert [one == other for one, other in zip(load_run("memory://saved").epochs, kept.told, strict=True)] == [True] * 2


def test_tested_checkpoints_are_kept_apart(tmp_path):
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    _, run = fit(tmp_path, callbacks=[saving], max_epochs=2)
    trainer = L.Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    trainer.callbacks.append(monitor(reports=[Maps()]))
    for epoch in (0, 1):
        trainer.test(run.module, loader(10, seed=1), ckpt_path=tmp_path / f"epoch={epoch}.ckpt", verbose=False)
    tested = load_run(tmp_path, stage="test").epochs
    assert [Path(one.checkpoint).name for one in tested] == ["epoch=0.ckpt", "epoch=1.ckpt"]
    assert [one.epoch for one in load_run(tmp_path).epochs] == [0, 1]
