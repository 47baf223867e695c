"""Runs with everything of ``research.yaml``, one of which is killed again and again: ``python -m … FOLDER``.

One process imports everything; each run, and each part of one, is a fork of it, killed by signal 9 but for the last.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import lightning as L
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.nn import functional as F

from lightning_xai import ExplanationCheckpoint, ExplanationEarlyStopping, ExplanationMonitor
from lightning_xai.callbacks.run import run_time
from lightning_xai.callbacks.steps import budget, engine
from lightning_xai.callbacks.steps.engine import Engine
from lightning_xai.explainers.controls.center_heatmap import CenterHeatmap
from lightning_xai.probing.decisions import effort
from tests.callbacks._clock import Clock
from tests.callbacks._killed import ROOT, die
from tests.callbacks._tiny import CLASSES, SIZE, Data

PRESET = Path(__file__).parents[2] / "callbacks" / "research.yaml"
ACCURACIES = (0.50, 0.70, 0.80, 0.75)
MOMENTS = ("explaining", "told", "saving")
"""When the parts of the killed run end, in epochs 1, 2 and 3; the last one goes on to the end."""
TIMES = ("seconds", "overhead")
OWN = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": len(ACCURACIES),
    "log_every_n_steps": 1,
    "logger": {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": ".", "name": "", "version": "run"},
    },
}


class Places(L.LightningModule):
    """Tells where the square lies, which pooling over the whole image could not; says its accuracy as written down."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(4 * (SIZE // 2) ** 2, CLASSES)

    def forward(self, images):
        return self.head(self.net(images))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))
        self.log("val_acc", ACCURACIES[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Dies(L.Callback):
    """Dies in one epoch: while the validation is explained, once it is told, or before it can be resumed from."""

    def __init__(self, moment, epoch):
        self.moment, self.epoch = moment, epoch

    def on_validation_end(self, trainer, pl_module):
        if self.moment == "told":
            self.die_if_it_is_time(trainer)

    def die_if_it_is_time(self, trainer):
        if trainer.current_epoch == self.epoch and not trainer.sanity_checking:
            die()

    def arm(self):
        """Let the package's own verbs die."""
        explain, save = CenterHeatmap.explain, ExplanationCheckpoint._save_last_checkpoint

        def explaining(explainer, classifier, images, target):
            self.die_if_it_is_time(classifier.model.trainer)
            return explain(explainer, classifier, images, target)

        def saving(keep, trainer, candidates):
            self.die_if_it_is_time(trainer)
            save(keep, trainer, candidates)

        if self.moment == "explaining":
            CenterHeatmap.explain = explaining
        if self.moment == "saving":
            ExplanationCheckpoint._save_last_checkpoint = saving


def slowed(per_image):
    """Let the package read a clock on which an image takes so long to explain; return what trains on it."""
    clock, answers = Clock(), Engine._answers
    run_time.perf_counter = engine.perf_counter = clock
    budget.LEAST_IMAGES = effort.LEAST_IMAGES = 2

    def slow(self, at, loader, places):
        clock.now += per_image * len(places)
        return answers(self, at, loader, places)

    Engine._answers = slow
    return clock.training(1.0)


def cheaper():
    """Return the preset with fewer images, shorter paths and fewer pictures, but all explainers and metrics."""
    config = yaml.safe_load(PRESET.read_text())
    watched = config["trainer"]["callbacks+"][0]["init_args"]
    watched["num_images"] = 3
    path = watched["explainers"].index("integrated_gradients")
    watched["explainers"][path] = {"class_path": "lightning_xai.IntegratedGradients", "init_args": {"num_steps": 4}}
    watched["reports"].remove("lightning_xai.HtmlReport")  # which reads what is compared here, and draws it at the end
    (alignment,) = (one for one in watched["reports"] if "AccuracyAlignment" in str(one))
    alignment["init_args"]["scores"] = ["probe_confidence"]  # one of all explainers together
    return config


def fit(folder, *, per_image=0.4, ckpt_path=None, dies=None):
    """Fit in ``folder`` with everything, of three images, and keep what is there at the end."""
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    Path("research.yaml").write_text(yaml.safe_dump(cheaper()))
    Path("own.yaml").write_text(yaml.safe_dump({"seed_everything": 3, "trainer": OWN}))
    sys.argv = ["train.py"]
    callbacks = [slowed(per_image), *([] if dies is None else [dies])]
    if dies is not None:
        dies.arm()
    args = [word for name in ("own.yaml", "research.yaml") for word in ("--config", name)]
    settings = {"run": False, "save_config_callback": None, "trainer_defaults": {"callbacks": callbacks}}
    cli = LightningCLI(Places, Data, args=args, **settings)
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=ckpt_path)
    torch.save(found(cli.trainer.callbacks), "found.pt")


def found(callbacks):
    """Return what decisions there are, and all numbers but times."""
    ours, stop, keep = (
        next(one for one in callbacks if isinstance(one, kind))
        for kind in (ExplanationMonitor, ExplanationEarlyStopping, ExplanationCheckpoint)
    )
    tables = {}
    for path in sorted(Path("run").glob("research_*.csv")):
        with path.open() as file:
            rows = csv.DictReader(file)
            tables[path.name] = [{k: v for k, v in row.items() if not k.endswith(TIMES)} for row in rows]
    return {
        "history": [{k: v for k, v in epoch.items() if not k.endswith(TIMES)} for epoch in ours.history],
        "tables": tables,
        "maps": sorted(path.name for path in Path("run/research_maps").iterdir()),
        "effort": ours.effort,
        "kept": [(one.epoch, one.step, one.accuracy, one.accuracy_error, Path(one.path).name) for one in keep.kept],
        "best": (Path(keep.best_model_path).name, keep.reason),
        "files": sorted(path.name for path in Path(keep.dirpath).iterdir()),
        "stop": (stop.decision, stop.wait_count, stop.stopped_epoch, stop.state_dict()["logged"]),
        "logged": ours.state_dict()["logged"],
        "overhead": [epoch["research/overhead"] for epoch in ours.history],
    }


def forked(work, *given, **settings):
    """Start ``work`` in a fork of this process and return its id."""
    process = os.fork()
    if process:
        return process
    try:
        work(*given, **settings)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(process, code):
    """Raise unless a process ends with ``code``, negative for a signal."""
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) != code:
        raise RuntimeError(f"Expected exit code {code}, but got {os.waitstatus_to_exitcode(status)}.")


def main(folder):
    torch.set_num_threads(1)
    whole = forked(fit, folder / "whole")
    last = None
    for epoch, moment in enumerate(MOMENTS, start=1):
        part = {"ckpt_path": last, "dies": Dies(moment, epoch)}
        # an image that takes less would be one of three, were the choice made again
        ended(forked(fit, folder / "killed", per_image=0.4 if epoch == 1 else 0.001, **part), -signal.SIGKILL)
        last = "run/checkpoints/last.ckpt"
    ended(forked(fit, folder / "killed", per_image=0.001, ckpt_path=last), 0)
    ended(whole, 0)


def runs(folder):
    """Return what there is at the end of an uninterrupted run and of the one that was killed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __name__, str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=400)
    if done.returncode:
        raise RuntimeError(f"Expected two runs to end, but:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return [torch.load(folder / name / "found.pt", weights_only=False) for name in ("whole", "killed")]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
