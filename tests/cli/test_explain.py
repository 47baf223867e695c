"""Finished checkpoints of a LightningCLI's run are explained in one command."""

import json
import warnings

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI

from lightning_xai import GradCAM, load_run
from lightning_xai.cli.main import main
from lightning_xai.comparison.checkpoints import in_order_of_training
from tests.cli.test_run_folder import Data, Net

METRICS = ["--metrics", "insertion_deletion", "sparseness", "--num_images", "3", "--device", "cpu"]


class Validated(Net):
    """Has a validation, which it is explained in."""

    def validation_step(self, batch, _):
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a fit of three epochs that kept each of them, and the last."""
    folder = tmp_path_factory.mktemp("fit")
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.max_epochs=3"]
    logger = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", f"--trainer.logger.save_dir={folder}"]
    saving = ModelCheckpoint(filename="{epoch}", save_top_k=-1, save_last=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LightningCLI(
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_defaults={"callbacks": [saving]},
            args=["fit", f"--model={__name__}.Validated", f"--data={Data.__module__}.Data", *quiet, *logger],
        )
    return next(folder.glob("lightning_logs/version_0"))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_folder_of_checkpoints_in_one_command(folder, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["explain", "--checkpoint", str(folder), *METRICS, "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(output / "xai_report_validate.html")
    run = load_run(output, stage="validate")
    assert [one.epoch for one in run.epochs] == [0, 1, 2]
    told = json.loads((output / "xai_report_validate.json").read_text())
    gain = next(one for one in told["scores"] if one["name"] == "faithfulness_gain")
    assert [one["epoch"] for one in gain["epochs"]] == [0, 1, 2]
    assert len({one["value"] for one in gain["epochs"]}) == 3  # each by its own weights


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_one_checkpoint_with_the_config_named(folder, tmp_path):
    (checkpoint,) = folder.rglob("epoch=1.ckpt")
    moved = tmp_path / "moved.ckpt"
    moved.write_bytes(checkpoint.read_bytes())
    given = ["--checkpoint", str(moved), "--config", str(folder / "config.yaml")]
    assert main(["explain", *given, *METRICS, "--output", str(tmp_path / "out")]) == 0
    (epoch,) = load_run(tmp_path / "out", stage="validate").epochs
    assert (epoch.epoch, epoch.checkpoint) == (1, str(moved))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_config_of_a_cli_that_has_its_classes_itself(folder, tmp_path):
    (checkpoint,) = folder.rglob("epoch=1.ckpt")
    moved = tmp_path / "moved.ckpt"
    moved.write_bytes(checkpoint.read_bytes())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    arguments = {name: config[name].get("init_args", {}) for name in ("model", "data")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(arguments))
    given = ["--checkpoint", f"{__name__}.Validated@{moved}", "--data", f"{Data.__module__}.Data"]
    assert main(["explain", *given, *METRICS, "--output", str(tmp_path / "out")]) == 0
    (epoch,) = load_run(tmp_path / "out", stage="validate").epochs
    assert (epoch.epoch, epoch.checkpoint) == (1, str(moved))


def test_checkpoints_come_in_the_order_of_training_and_each_moment_once(folder, tmp_path):
    found = [one.path for one in in_order_of_training([folder])]
    assert [path.name for path in found] == ["epoch=0.ckpt", "epoch=1.ckpt", "epoch=2.ckpt"]
    moments = [torch.load(path, weights_only=False)["global_step"] for path in found]
    assert moments == sorted(moments)
    assert [one.path for one in in_order_of_training(found[::-1])] == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--checkpoint", "{empty}"], "there are none below"),
        (["--checkpoint", "{alone}"], "to say of which class it is"),
        (["--checkpoint", "{ours}", "--metrics", "faithfulnes"], "faithfulness"),
    ],
    ids=["no file", "an empty folder", "no config", "no metric"],
)
def test_what_is_wrong_is_said_before_anything_runs(given, said, folder, tmp_path, capsys):
    (ours,) = folder.rglob("epoch=1.ckpt")
    alone = tmp_path / "a" / "b" / "alone.ckpt"
    alone.parent.mkdir(parents=True)
    alone.write_bytes(ours.read_bytes())
    (tmp_path / "empty").mkdir()
    places = {"empty": str(tmp_path / "empty"), "alone": str(alone), "ours": str(ours)}
    given = [one.format(**places) for one in given]
    assert main(["explain", *given, "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("fails", ["model", "weights", "explainer"])
def test_a_checkpoint_that_fails_is_in_the_exit_status_and_the_others_in_the_report(
    fails, folder, tmp_path, capsys, monkeypatch
):
    first, second, _ = (one.path for one in in_order_of_training([folder]))
    broken = torch.load(first, weights_only=False)
    if fails == "weights":
        broken["state_dict"].popitem()
    given = tmp_path / "given.ckpt"
    torch.save(broken, given)
    if fails != "weights":
        owner, name = {"model": (Net, "forward"), "explainer": (GradCAM, "explain")}[fails]
        right, wrong = getattr(owner, name), Failing(given)
        monkeypatch.setattr(owner, name, lambda *args: wrong.of(right, *args))
        monkeypatch.setattr(Validated, "on_load_checkpoint", lambda _, found: wrong.note(found), raising=False)
    ours = ["--config", str(folder / "config.yaml"), *METRICS, "--output", str(tmp_path / "out")]
    assert main(["explain", "--checkpoint", str(given), str(second), *ours]) == 1
    told = capsys.readouterr()
    assert "given.ckpt was not explained: " in told.err
    assert ("Missing key" if fails == "weights" else "RuntimeError: none today") in told.err
    assert [one.epoch for one in load_run(tmp_path / "out", stage="validate").epochs] == [1]
    assert told.out.splitlines()[-1].endswith("xai_report_validate.html")


class Failing:
    """Fails as long as the first checkpoint is loaded."""

    def __init__(self, path):
        self.epoch, self.loaded = torch.load(path, weights_only=False)["epoch"], None

    def note(self, checkpoint):
        self.loaded = checkpoint["epoch"]

    def of(self, function, *args):
        if self.loaded == self.epoch:
            raise RuntimeError("none today")
        return function(*args)
