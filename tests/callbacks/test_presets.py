from __future__ import annotations

import pickle
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI

from lightning_xai import (
    ExplanationCheckpoint,
    ExplanationEarlyStopping,
    ExplanationMonitor,
    JointEarlyStopping,
    Readout,
    ShortcutAlarm,
)
from lightning_xai.explainers import GradCAM, HiResCAM
from lightning_xai.metrics import InsertionDeletion, Sparseness
from tests.callbacks._tiny import NO_PICTURES, Data, Module, cheap, fit, halves_of_batch, read_batch, second_of

pytestmark = pytest.mark.filterwarnings("ignore:[\\s\\S]*([Dd]eprecat|No seed found)")

PRESETS = sorted((Path(__file__).parents[2] / "callbacks").glob("*.yaml"))
ADDED = {
    "explanation_monitor": [ExplanationMonitor],
    "early_stopping_on_faithfulness": [EarlyStopping],
    "checkpoint_on_faithfulness": [ModelCheckpoint],
    "explanation_early_stopping": [ExplanationEarlyStopping],
    "joint_early_stopping": [JointEarlyStopping],
    "explanation_checkpoint": [ExplanationCheckpoint],
    "pareto_checkpoint": [ExplanationCheckpoint],
    "research": [ExplanationMonitor, ExplanationEarlyStopping, ExplanationCheckpoint],
}
OWN = """
trainer:
  accelerator: cpu
  devices: 1
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  max_epochs: 2
  limit_train_batches: 2
  callbacks:
    - class_path: lightning.pytorch.callbacks.RichModelSummary
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    monkeypatch.chdir(tmp_path)  # without a logger, files go to the working directory


@pytest.fixture
def own(tmp_path):
    """The config of a user who has a callback already."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


def parsed(*args, run=False, folder=None):
    given = [str(arg) for arg in args]
    if folder is not None:
        given += ["--trainer.default_root_dir", str(folder)]
    return LightningCLI(Module, Data, args=["fit", *given] if run else given, run=run)


def configs(*paths):
    return [arg for path in paths for arg in ("--config", path)]


def kinds(cli):
    """The user's and our callbacks, without those that Lightning adds."""
    ours = {kind.__name__ for added in ADDED.values() for kind in added}
    shown = {"RichModelSummary", "LearningRateMonitor", *ours} - {"ModelCheckpoint"}
    return sorted(type(callback).__name__ for callback in cli.trainer.callbacks if type(callback).__name__ in shown)


def monitors(cli):
    return [callback for callback in cli.trainer.callbacks if isinstance(callback, ExplanationMonitor)]


def test_there_is_a_test_for_every_preset():
    assert sorted(ADDED) == [preset.stem for preset in PRESETS]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_alone_is_appended(own, preset):
    cli = parsed(*configs(own, preset))
    assert "RichModelSummary" in kinds(cli)
    for kind in ADDED[preset.stem]:
        assert sum(type(callback) is kind for callback in cli.trainer.callbacks) == 1


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_without_a_config_of_the_user(preset):
    cli = parsed(*configs(preset), "--trainer.accelerator=cpu", "--trainer.logger=false")
    assert {type(callback) for callback in cli.trainer.callbacks} >= set(ADDED[preset.stem])


def smaller(preset, folder):
    """Return a preset whose monitor, if it has one, explains three images by two metrics; only the loss is logged."""
    config = yaml.safe_load(preset.read_text())
    for callback in config["trainer"]["callbacks+"]:
        if callback["class_path"].endswith("ExplanationMonitor"):
            callback["init_args"] |= {"num_images": 3, "metrics": ["insertion_deletion", "faithfulness_skill"]}
            for report in callback["init_args"].get("reports", ()):
                if "AccuracyAlignment" in str(report):
                    report["init_args"]["scores"] = ["faithfulness_gain"]
        if callback["class_path"].endswith("JointEarlyStopping"):
            del callback["init_args"]["monitors"]["val_recall"]
    path = folder / preset.name
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.filterwarnings("ignore:ExplanationCheckpoint", "ignore:ExplanationMonitor.*explains nothing in this fit")
@pytest.mark.parametrize("order", [PRESETS, PRESETS[::-1]], ids=["forward", "backward"])
def test_all_presets_train_together_and_the_saved_config_trains_again(own, tmp_path, order):
    cli = parsed(*configs(own, *(smaller(preset, tmp_path) for preset in order)), run=True, folder=tmp_path / "first")
    ours = [
        name for name in ("Checkpoint", "EarlyStopping", "Monitor") for _ in range(3 if name == "Checkpoint" else 2)
    ]
    expected = ["EarlyStopping", *(f"Explanation{name}" for name in ours), "JointEarlyStopping", "RichModelSummary"]
    assert kinds(cli) == expected
    checkpoint = next(c for c in cli.trainer.callbacks if type(c) is ModelCheckpoint)
    watched, research = sorted(monitors(cli), key=lambda one: one.prefix == "research")
    best = max(row["xai/faithfulness"] for row in watched.history)
    assert checkpoint.best_model_score == pytest.approx(best)
    epoch = next(row["epoch"] for row in watched.history if row["xai/faithfulness"] == best)
    assert Path(checkpoint.best_model_path).name == f"epoch={epoch}-faithfulness={best:.3f}.ckpt"
    keep = next(c for c in cli.trainer.callbacks if getattr(c, "monitors", None) == ("xai/faithfulness_gain",))
    gain = watched.history[keep.kept[-1].epoch]["xai/faithfulness_gain"]
    assert Path(keep.kept[-1].path).name == f"epoch={keep.kept[-1].epoch}-gain={gain:.3f}.ckpt"
    assert Path(keep.best_model_path).exists()
    assert research.history[0]["research/grad_cam/faithfulness"] == watched.history[0]["xai/faithfulness"]
    saved = tmp_path / "first" / "config.yaml"
    assert saved.exists()
    again = parsed("--config", saved, run=True, folder=tmp_path / "second")
    assert kinds(again) == kinds(cli)
    watched_again, research_again = sorted(monitors(again), key=lambda one: one.prefix == "research")
    assert (watched_again.num_images, research_again.max_overhead) == (3, 0.25)
    assert [row["xai/faithfulness"] for row in watched_again.history] == [
        row["xai/faithfulness"] for row in watched.history
    ]


def test_the_order_of_presets_does_not_matter(own):
    assert kinds(parsed(*configs(own, *PRESETS))) == kinds(parsed(*configs(own, *PRESETS[::-1])))


def test_command_line(own):
    cli = parsed(
        *configs(own),
        "--trainer.callbacks+=ExplanationMonitor",
        "--trainer.callbacks.explainers=hires_cam",
        "--trainer.callbacks.num_images=7",
        "--trainer.callbacks.target=2",
        "--trainer.callbacks+=LearningRateMonitor",
    )
    assert kinds(cli) == ["ExplanationMonitor", "LearningRateMonitor", "RichModelSummary"]
    (watched,) = monitors(cli)
    assert watched.num_images == 7
    assert [type(explainer) for explainer in watched.plan.explainers.values()] == [HiResCAM]
    assert watched.plan.target == 2


def test_the_command_lines_of_the_presets_comments(own, monkeypatch):
    """Each line, as it stands in a preset, is parsed; what it sets arrives at the monitor."""
    monkeypatch.chdir(PRESETS[0].parent)
    seen = 0
    for preset in PRESETS:
        lines = re.findall(r"^#   python train\.py fit ((?:.*\\\n)*.*)$", preset.read_text(), flags=re.MULTILINE)
        for line in lines:
            words = re.sub(r"\\\n#", "", line).replace("your_config.yaml", str(own)).split()
            (watched,) = monitors(parsed(*words))
            asked = 128 if preset.stem == "research" else 64 if "--trainer.callbacks.num_images=64" in words else 32
            assert watched.num_images == asked
            assert watched.max_overhead == {128: 0.25}.get(asked, 0.05 if "max_overhead" in line else None)
            seen += 1
        assert lines, preset
    assert seen == len(PRESETS) + 2


def test_settings_after_the_preset_on_the_command_line(own):
    preset = next(path for path in PRESETS if path.stem == "explanation_monitor")
    (watched,) = monitors(parsed(*configs(own, preset), "--trainer.callbacks.num_images=64"))
    assert watched.num_images == 64
    assert list(watched.plan.explainers) == ["grad_cam"]


EVERYTHING = """
trainer:
  callbacks+:
    - class_path: lightning_xai.ExplanationMonitor
      init_args:
        explainers:
          - class_path: lightning_xai.GradCAM
            init_args: {target_layer: net.3, relu: false}
          - class_path: HiResCAM
          - random_heatmap
        metrics:
          - class_path: lightning_xai.InsertionDeletion
            init_args: {num_steps: 4}
          - sparseness
        num_images: 3
        every_n_epochs: 2
        target: predicted
        readout:
          task: multiclass
          forward: net
          chunk_size: 2
          precision: bf16
        reports:
          - lightning_xai.Scalars
          - class_path: lightning_xai.Grid
            init_args:
              num_images: 1
              class_names: [circle, square, star]
              mean: [0.5]
              std: [0.25]
              cell_size: 48
        sample_from_batch: tests.callbacks._tiny.read_batch
        groups: tests.callbacks._tiny.halves_of_batch
        breakdown: [faithfulness]
        prefix: val/xai
        on_error: raise
        seed: 5
        shortcut_alarm:
          patience: 4
          border: false
"""


def test_every_setting_from_yaml(own, tmp_path):
    path = tmp_path / "everything.yaml"
    path.write_text(EVERYTHING)
    cli = parsed(*configs(own, path), run=True, folder=tmp_path / "run")
    (watched,) = monitors(cli)
    cam = watched.plan.explainers["grad_cam"]
    assert isinstance(cam, GradCAM)
    assert (cam.target_layer, cam.relu) == ("net.3", False)
    assert list(watched.plan.explainers) == ["grad_cam", "hires_cam", "random_heatmap"]
    metrics = watched.plan.metrics(annotated=True)
    assert {type(metric) for metric in metrics.values()} == {InsertionDeletion, Sparseness}
    assert metrics["faithfulness"].evidence[0].num_steps == 4
    assert watched.readout == Readout("multiclass", forward="net", chunk_size=2, precision="bf16")
    assert watched.on_error == "raise"
    grid = watched.reports[-1]
    assert (grid.num_images, grid.cell_size, list(grid.class_names)) == (1, 48, ["circle", "square", "star"])
    assert (list(grid.mean), list(grid.std)) == ([0.5], [0.25])
    assert watched._gathering.sample_from_batch is read_batch
    assert watched.groups is halves_of_batch
    assert watched.breakdown == ("faithfulness",)
    assert "val/xai/grad_cam/worst_group/faithfulness" in watched.history[0]
    assert watched.plan.seed == 5
    assert watched.plan.alarm == ShortcutAlarm(4, border=False)
    assert {"val/xai/grad_cam/faithfulness", "val/xai/random_heatmap/sparseness"} <= watched.history[0].keys()
    again = parsed("--config", tmp_path / "run" / "config.yaml", run=True, folder=tmp_path / "again")
    (reloaded,) = monitors(again)
    assert reloaded.reports[-1] == grid
    assert reloaded.readout == watched.readout
    assert list(reloaded.plan.explainers) == list(watched.plan.explainers)
    assert reloaded.plan.alarm == watched.plan.alarm


def test_groups_by_a_key_from_the_command_line(own, tmp_path):
    (preset,) = (path for path in PRESETS if path.stem == "explanation_monitor")
    given = ["--trainer.callbacks.groups=site", "--trainer.callbacks.breakdown=[faithfulness_gain]"]
    cli = parsed(*configs(own, preset), *given)
    (watched,) = monitors(cli)
    assert (watched.groups, watched.breakdown) == ("site", ("faithfulness_gain",))


@pytest.mark.parametrize("logits", ["logits", 1, "tests.callbacks._tiny.second_of"])
def test_what_is_a_text_or_a_function_comes_back_from_the_saved_config(own, tmp_path, logits):
    path = tmp_path / "texts.yaml"
    init = {"groups": "site", "readout": {"logits_from_output": logits}}
    callback = {"class_path": "lightning_xai.ExplanationMonitor", "init_args": init}
    path.write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    cli = parsed(*configs(own, path))
    saved = tmp_path / "config.yaml"
    saved.write_text(cli.parser.dump(cli.config))
    (first,), (again,) = monitors(cli), monitors(parsed("--config", saved))
    assert first.groups == again.groups == "site"
    expected = second_of if logits == "tests.callbacks._tiny.second_of" else logits
    assert first.readout.logits_from_output == again.readout.logits_from_output == expected


def _steps():
    path = "lightning_xai.InsertionAUC"
    return {
        "quadrature": {"class_path": path, "init_args": {"num_steps": "radau"}},
        "adaptive": {"class_path": path, "init_args": {"num_steps": "auto", "tolerance": 0.05}},
    }


DECISIONS = """
trainer:
  callbacks+:
    - class_path: lightning_xai.ExplanationEarlyStopping
      init_args:
        monitor: xai/sparseness
        rule: no_gain
        min_delta: 0.01
        only_if: {val_loss: ["<", 0.3], val_accuracy: 0.8}
    - class_path: lightning_xai.ExplanationCheckpoint
      init_args:
        monitor: [xai/faithfulness_gain, xai/sparseness]
        rule: pareto
        accuracy: val_loss
        accuracy_mode: min
        margin: 0.01
        max_kept: null
"""


def test_settings_of_decisions_from_yaml(own, tmp_path):
    path = tmp_path / "decisions.yaml"
    path.write_text(DECISIONS)
    callbacks = parsed(*configs(own, path)).trainer.callbacks
    stop = next(one for one in callbacks if isinstance(one, ExplanationEarlyStopping))
    keep = next(one for one in callbacks if isinstance(one, ExplanationCheckpoint))
    assert (stop.rule, stop.min_delta, stop.patience) == ("no_gain", 0.01, 3)
    assert {name: list(one) if name == "val_loss" else one for name, one in stop.only_if.items()} == {
        "val_loss": ["<", 0.3],
        "val_accuracy": 0.8,
    }
    assert keep.monitors == ("xai/faithfulness_gain", "xai/sparseness")
    assert (keep.rule, keep.accuracy, keep.accuracy_mode, keep.margin, keep.max_kept) == (
        "pareto",
        "val_loss",
        "min",
        0.01,
        None,
    )


def test_a_dict_of_explainers_from_yaml(own, tmp_path):
    path = tmp_path / "named.yaml"
    init = {
        "explainers": {
            "early": {"class_path": "lightning_xai.GradCAM", "init_args": {"target_layer": "net.0"}},
            "late": "grad_cam",
        },
        "metrics": {
            "fine": {"class_path": "lightning_xai.InsertionDeletion", "init_args": {"num_steps": 64}},
            **_steps(),
        },
    }
    callback = {"class_path": "lightning_xai.ExplanationMonitor", "init_args": init}
    path.write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    (watched,) = monitors(parsed(*configs(own, path)))
    assert {name: e.target_layer for name, e in watched.plan.explainers.items()} == {"early": "net.0", "late": "auto"}
    metrics = watched.plan.metrics(annotated=False)
    assert {name: metric.num_steps for name, metric in metrics.items()} == {
        "fine": 64,
        "quadrature": "radau",
        "adaptive": "auto",
    }


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("explainers=grad_camm", "grad_camm"),
        ("metrics=[insertion]", "insertion"),
        ("metrics={class_path: InsertionAUC, init_args: {num_steps: gauss}}", "gauss"),
        ("target=labels", "labels"),
        ("on_error=ignore", "ignore"),
        ("num_image=3", "num_image"),
    ],
)
def test_a_wrong_setting_fails_when_it_is_parsed(own, capsys, setting, said):
    with pytest.raises(SystemExit):
        parsed(*configs(own), "--trainer.callbacks+=ExplanationMonitor", f"--trainer.callbacks.{setting}")
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "copy", [deepcopy, lambda monitor: pickle.loads(pickle.dumps(monitor))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("used", [False, True])
def test_copies(copy, used):
    torch.manual_seed(0)
    watched = ExplanationMonitor({"early": GradCAM("net.0")}, cheap(), num_images=3, reports=NO_PICTURES)
    if used:
        fit(watched, max_epochs=2)
    twin = copy(watched)
    assert twin.state_key == watched.state_key
    assert twin.history == watched.history
    fits = []
    for each in (watched, twin):
        torch.manual_seed(1)
        fit(each)
        fits.append(each.history[0])
    assert {k: v for k, v in fits[0].items() if "seconds" not in k} == {
        k: v for k, v in fits[1].items() if "seconds" not in k
    }
