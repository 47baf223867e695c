"""An explainer and a metric of another package, installed as any package is, work by alias everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = '''
from lightning_xai import Explainer, ExplanationMetric


class RedChannel(Explainer):
    """Explain by the first channel."""

    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def explain(self, classifier, images, target):
        return images[:, 0].abs() ** self.power


class PeakHeat(ExplanationMetric):
    """How hot is the hottest pixel?"""

    higher_is_better = True

    def score(self, case):
        return case.heatmaps.amax((1, 2))


class HeatSum(ExplanationMetric):
    """Has the name of a built-in metric in its entry point."""

    def score(self, case):
        return case.heatmaps.sum((1, 2))
'''
ENTRY_POINTS = """
[lightning_xai.explainers]
red_channel = their_package:RedChannel

[lightning_xai.metrics]
peak_heat = their_package:PeakHeat
sparseness = their_package:HeatSum
misnamed = their_package:PeakHeat
no_metric = their_package:RedChannel
"""
TRAIN = """
import contextlib, io, json
from lightning.pytorch.cli import LightningCLI
from lightning_xai import get_explainer, get_metric, list_explainers, list_metrics
from tests.callbacks._tiny import Module, Squares

class Data(__import__("lightning").LightningDataModule):
    def train_dataloader(self): return Squares().loader()
    def val_dataloader(self): return Squares().loader()

def fitted(config):
    return LightningCLI(Module, Data, args=["fit", "--config", config], save_config_callback=None)

refused = io.StringIO()
with contextlib.redirect_stderr(refused), contextlib.suppress(SystemExit):
    fitted("wrong.yaml")
    raise AssertionError("nobody has this alias")
cli = fitted("config.yaml")
monitor = next(c for c in cli.trainer.callbacks if type(c).__name__ == "ExplanationMonitor")
errors = []
for alias in ("misnamed", "no_metric", "peak_heats"):
    try:
        get_metric(alias)
    except (TypeError, ValueError) as error:
        errors.append(f"{type(error).__name__}: {error}")
print(json.dumps({
    "row": monitor.history[-1]["xai/peak_heat"],
    "listed": ["red_channel" in list_explainers(), "peak_heat" in list_metrics()],
    "families": ["peak_heat" in list_metrics("complexity"), get_metric("peak_heat").family],
    "settings": repr(get_explainer("red_channel", power=2.0)),
    "builtin": type(get_metric("sparseness")).__module__,
    "errors": errors,
    "refused": refused.getvalue(),
}))
"""
CONFIG = """
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: lightning_xai.ExplanationMonitor
      init_args:
        explainers: red_channel
        metrics: [peak_heat, {second}]
        num_images: 3
        reports: lightning_xai.History
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {{monitor: xai/peak_heat, mode: max}}
"""


@pytest.fixture
def found(tmp_path):
    """What a process that has the package installed printed, parsed."""
    (tmp_path / "their_package.py").write_text(CODE)
    information = tmp_path / "their_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their_package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "train.py").write_text(TRAIN)

    for name, second in (("config", "sparseness"), ("wrong", "peak_heats")):
        (tmp_path / f"{name}.yaml").write_text(CONFIG.format(second=second))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_by_alias_in_yaml_and_monitored_and_a_wrong_one_is_refused_when_the_file_is_read(found):
    assert found["row"] > 0.0
    assert found["listed"] == [True, True]
    assert found["families"] == [False, "custom"]
    assert found["settings"] == "RedChannel(power=2.0)"
    assert found["builtin"] == "lightning_xai.metrics.complexity.sparseness"  # theirs does not take its place
    misnamed, no_metric, unknown = found["errors"]
    assert "TypeError: Expected the entry point of their_package:PeakHeat" in misnamed
    assert "its name, 'peak_heat', but got 'misnamed'" in misnamed
    assert "TypeError: Expected the entry point 'no_metric'" in no_metric
    assert "to be a subclass of ExplanationMetric" in no_metric
    assert "Did you mean 'peak_heat'?" in unknown
    assert "peak_heats" in found["refused"]
