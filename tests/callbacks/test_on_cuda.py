"""What a monitor finds and leaves on a CUDA device is what it finds and leaves on the CPU."""

from __future__ import annotations

import pytest
import torch

from lightning_xai import RISE, Failures, InsertionAUC, Readout
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.reports import Grid, History, Report, Scalars
from tests.callbacks._clock import Clock
from tests.callbacks._runs import Net, differing, loader, monitor, remembered, small_metrics, train
from tests.callbacks._two_processes import Drifting, sites

pytestmark = pytest.mark.cuda
ACCELERATOR = "gpu"  # "cpu", without the mark, tries these tests where there is no GPU
COUNTED = ("seconds", "model_evaluations")
TOLERANCE = 1e-3


@pytest.fixture(autouse=True)
def _alike(tmp_path, monkeypatch):
    """Files go to a folder of the test; a GPU convolves in float32, and the same way every time."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"allow_tf32": False, "deterministic": True, "benchmark": False}.items():
        monkeypatch.setattr(torch.backends.cudnn, name, value)


class Found(Report):
    """Keeps which images the report of failures is told of."""

    wants_validation_logits = True

    def __init__(self):
        self.told = []

    def num_failures(self):
        return 4

    def publish(self, epoch, run):
        self.told.append([(one.kind, one.candidate.key) for failures in run.failures.values() for one in failures])


def explained(accelerator, explainers="grad_cam", **settings):
    """Return the monitor of a fit whose weights move by themselves, and its numbers but for what they cost."""
    ours = monitor(explainers, small_metrics(), **settings)
    train([ours], Drifting, accelerator=accelerator, val_loader=loader(30, seed=1))
    rows = [{k: v for k, v in row.items() if not k.endswith(COUNTED)} for row in remembered(ours).values()]
    assert len(rows) == 2
    return ours, rows


def test_rise_groups_failures_alarm_and_pictures_are_those_of_a_cpu():
    found = {}
    for place in ("cpu", ACCELERATOR):
        told, given = Found(), {"groups": sites, "breakdown": ["faithfulness_gain"]}
        reports = [Scalars(), History(), Failures(1), Grid(num_images=1, cell_size=32), told]
        explainers = {"grad_cam": "grad_cam", "rise": RISE(num_masks=16, grid=3)}
        ours, rows = explained(place, explainers, reports=reports, **given)
        found[place] = rows, told.told, ours.latest.loaders[0].raw_heatmaps("rise")
    (expected, failures, maps), (rows, told, others) = found["cpu"], found[ACCELERATOR]
    assert "xai/grad_cam/gap/faithfulness_gain" in expected[0]
    assert "xai/grad_cam/shortcut_alarm" in expected[0]
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, abs=TOLERANCE, nan_ok=True)
    assert told == failures
    assert len(told[0]) > 0
    torch.testing.assert_close(others, maps, atol=TOLERANCE, rtol=0)


def test_bfloat16_is_near():
    _, expected = explained("cpu")
    _, rows = explained(ACCELERATOR, readout=Readout(precision="bf16"))
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, abs=0.05)


def test_a_fit_is_the_same_without_us():
    def fit(*callbacks):
        return train(list(callbacks), lambda: Net(dropout=0.5), accelerator=ACCELERATOR).state()

    assert differing(fit(monitor(["grad_cam", "integrated_gradients"])), fit()) == []


def test_a_budget_is_chosen_and_kept(monkeypatch):
    clock = Clock().started(monkeypatch)
    ours = monitor(clock.explainer(0.1), [InsertionAUC(num_steps=4)], num_images=30, max_overhead=0.2)
    data = {"train_loader": loader(40), "val_loader": loader(30, seed=1)}
    train([ours, clock.training(1.0)], Drifting, accelerator=ACCELERATOR, **data)
    assert ours.effort == Effort(25)  # of 10 s of training, 2.5 s: an image takes 0.1 s
    assert len(ours.latest.loaders[0]) == 25


def test_how_many_images_go_together_is_chosen_once_and_kept():
    ours, _ = explained(ACCELERATOR, num_images=30)
    assert ours._runs["fit"].grown >= 8
