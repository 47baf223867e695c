"""Noise is a share of the range of the probe's images: found once, the same in every epoch, kept in checkpoints."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_xai import ExplanationMonitor
from lightning_xai.callbacks.run.checkpoint_state import restore, state_of
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.metrics import MaxSensitivity
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.probe import Item, Probe
from tests.callbacks._tiny import NO_PICTURES, Module, Squares, trainer_of, values

COUNT = 6


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a logger, files go to the working directory


class InBytes(Module):
    """Gets images in 0..255 and divides them itself."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, images):
        return super().forward(images / self.scale)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self(batch[0])


def sensitivity(scale, **settings):
    torch.manual_seed(3)
    data = Squares(9)
    data.images = (data.images / 2.5 * 255).round() / 255 * scale  # eight bits, in these units
    metric = MaxSensitivity(radius=0.1, num_samples=24, **settings)
    watched = ExplanationMonitor("grad_cam", [metric], num_images=9, reports=NO_PICTURES)
    trainer = trainer_of(watched)
    trainer.validate(InBytes(scale).eval(), data.loader(), verbose=False)
    return values(trainer)["max_sensitivity"], watched, data


def test_images_in_bytes_are_as_robust_as_images_in_0_to_1():
    (small, _, _), (large, watched, data) = sensitivity(1.0), sensitivity(255.0)
    assert large == pytest.approx(small, rel=0.1)  # the noise is other noise: it belongs to the content of the images
    assert sensitivity(255.0, absolute=True)[0] < 0.02 * small
    expected = (data.images.min().item(), data.images.max().item())
    assert watched.latest.loaders[0].value_range == expected


def test_every_epoch_and_a_resumed_run_have_one_range():
    data, metrics = Squares(), [MaxSensitivity(num_samples=2)]
    watched = ExplanationMonitor("grad_cam", metrics, num_images=COUNT, reports=NO_PICTURES)
    trainer_of(watched, max_epochs=2).fit(Module(), data.loader(), data.loader())
    run = watched._runs["fit"]
    (ends,) = {epoch.loaders[0].value_range for epoch in run.epochs}
    assert len(run.epochs) == 2
    assert ends == run.probes[0].value_range
    again = RunState(Effort(8))
    restore(again, state_of(run), Plan("grad_cam", metrics))
    assert [epoch.loaders[0].value_range for epoch in again.epochs] == [ends, ends]


def probe(*images):
    return Probe([(i, 0) for i in range(len(images))], [Item(image, None, None, None) for image in images])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)], (0.0, 1.0)),
        ([torch.full((1, 2, 2), -2.0), torch.linspace(-1, 255, 4).view(1, 2, 2)], (-2.0, 255.0)),
        ([torch.zeros(1, 2, 2), torch.ones(1, 3, 5, dtype=torch.float64)], (0.0, 1.0)),
        ([torch.ones(1, 2, 2)] * 2, None),
        ([torch.full((1, 2, 2), math.nan), torch.ones(1, 2, 2)], None),
        ([torch.full((1, 2, 2), math.inf), torch.ones(1, 2, 2)], None),
        ([], None),
    ],
)
def test_the_range_of_a_probe(images, expected):
    assert probe(*images).value_range == expected
