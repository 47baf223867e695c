"""Training is bit for bit what it is without the monitor; without its guard it is not."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F

from lightning_xai import AccuracyAlignment, ExplanationCheckpoint, ExplanationEarlyStopping, ExplanationMonitor
from lightning_xai.probing import sample_from_batch
from lightning_xai.reports import Grid, History, Scalars
from tests.callbacks._harm import (
    calls_backward,
    draws_from_numpy,
    draws_from_python,
    draws_from_torch,
    fails,
    leaves_a_hook,
    thaws,
    trains_the_statistics,
    writes_a_buffer,
)
from tests.callbacks._runs import Constant, Net, differing, loader, monitor, train, unguarded


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# Runs in which something can go wrong.


class FrozenStatistics(Net):
    def on_train_epoch_start(self):
        self.net[1].eval()


class TrainsInValidation(Net):
    """Keeps its dropout in validation."""

    def __init__(self):
        super().__init__(dropout=0.5)

    def on_validation_model_eval(self):
        pass


class PartlyFrozen(Net):
    def __init__(self):
        super().__init__()
        self.net[0].requires_grad_(requires_grad=False)


class Compiled(Net):
    def __init__(self):
        super().__init__(dropout=0.5)
        self.net = torch.compile(self.net, backend="eager")


class Manual(Net):
    """Gradients gather over two batches, between which validation runs."""

    automatic_optimization = property(lambda self: False, lambda self, value: None)

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        self.manual_backward(F.cross_entropy(self(batch[0]), batch[1]))
        if batch_idx % 2:
            optimizer.step()
            optimizer.zero_grad()


def augmented(draw):
    return lambda: loader(shuffle=False, change=lambda image: image * draw())


@dataclass
class Situation:
    """A way to train, and a harm that shows in it."""

    name: str
    harm: object
    make: object = Net
    train_loader: object = lambda: loader(shuffle=True)
    workers: int = 0
    others: object = list
    first: bool = True
    monitor: dict = field(default_factory=dict)
    fails: object = None
    trainer: dict = field(default_factory=dict)
    before: object = None

    def run(self, *explainers):
        callbacks = others = self.others()
        if explainers:
            ours = [monitor(explainers, **self.monitor)]
            callbacks = [*ours, *others] if self.first else [*others, *ours]
        return train(
            callbacks,
            self.make,
            train_loader=self.train_loader(),
            val_loader=loader(10, seed=1, workers=self.workers),
            before=self.before,
            **self.trainer,
        )


def rude_sample(batch):
    torch.rand(1)
    return sample_from_batch(batch)


def averaging():
    return [EMAWeightAveraging(decay=0.5)]


def validates_first(trainer, module):
    trainer.validate(module, loader(10, seed=2), verbose=False)


MIDWAY = {"accumulate_grad_batches": 3, "val_check_interval": 2}
EVERY_BATCH = {"val_check_interval": 1}
SITUATIONS = [
    Situation("sgd", draws_from_torch),
    Situation("hook", leaves_a_hook),
    Situation("accumulation", calls_backward, trainer=MIDWAY),
    Situation("frozen_statistics", trains_the_statistics, FrozenStatistics),
    Situation("buffer", writes_a_buffer, FrozenStatistics),
    Situation("dropout", draws_from_torch, lambda: Net(dropout=0.5), train_loader=loader),
    Situation("torch_augmentation", draws_from_torch, train_loader=augmented(lambda: torch.rand(()))),
    Situation("numpy_augmentation", draws_from_numpy, train_loader=augmented(lambda: np.random.rand())),
    Situation("python_augmentation", draws_from_python, train_loader=augmented(random.random)),
    Situation("dropout_in_validation", draws_from_torch, TrainsInValidation),
    Situation("anomalies_and_clipping", draws_from_torch, trainer={"detect_anomaly": True, "gradient_clip_val": 0.1}),
    Situation("true_bf16", trains_the_statistics, trainer={"precision": "bf16-true"}),
    Situation("bf16", trains_the_statistics, trainer={"precision": "bf16-mixed"}),
    Situation("workers", draws_from_torch, train_loader=lambda: loader(shuffle=True, workers=2), workers=2),
    Situation(
        "swa",
        draws_from_torch,
        others=lambda: [StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1)],
        trainer={"max_epochs": 3},
    ),
    Situation("ema_after_the_monitor", trains_the_statistics, others=averaging),
    Situation("ema_before_the_monitor", trains_the_statistics, others=averaging, first=False),
    Situation("partly_frozen", thaws, PartlyFrozen),
    Situation("compiled", draws_from_torch, Compiled),
    Situation("manual_optimization", calls_backward, Manual, trainer=EVERY_BATCH),
    Situation("every_second_epoch", draws_from_torch, monitor={"every_n_epochs": 2}, trainer={"max_epochs": 4}),
    Situation("fit_after_validate", trains_the_statistics, before=validates_first),
    Situation("rude_sample_from_batch", None, monitor={"sample_from_batch": rude_sample}),
]
FAILING = [
    Situation("raises", draws_from_torch),
    Situation("raises_while_accumulating", calls_backward, trainer=MIDWAY),
    Situation("raises_with_frozen_statistics", trains_the_statistics, FrozenStatistics),
    Situation("raises_with_a_hook_left", leaves_a_hook),
]


@pytest.mark.filterwarnings("ignore:.*gets other logits from TrainsInValidation")
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.name)
def test_final_weights_are_the_same(situation, monkeypatch):
    expected = situation.run()
    run = situation.run("grad_cam", Constant(situation.harm))
    assert differing(run.state(), expected.state()) == []
    assert run.values() == expected.values()
    assert run.trainer.callback_metrics["xai/grad_cam/faithfulness"] > -1.0
    with unguarded(monkeypatch):
        assert differing(situation.run(Constant(situation.harm)).state(), expected.state()) != []


@pytest.mark.parametrize("situation", FAILING, ids=lambda s: s.name)
def test_final_weights_are_the_same_when_every_explanation_fails(situation, monkeypatch):
    situation = replace(situation, trainer={**situation.trainer, "num_sanity_val_steps": 0})
    failing = Constant(situation.harm, fails=fails)
    expected = situation.run()
    with pytest.warns(UserWarning, match="no heatmap today"):
        run = situation.run("grad_cam", failing)
    assert differing(run.state(), expected.state()) == []
    with unguarded(monkeypatch), pytest.warns(UserWarning, match="no heatmap today"):
        assert differing(situation.run(failing).state(), expected.state()) != []


def test_the_default_suite_of_many_explainers_leaves_no_trace():
    data = {"val_loader": loader(10, seed=1, masks=True), "train_loader": loader(masks=True, shuffle=True)}
    expected = train([], lambda: Net(dropout=0.5), **data)
    explainers = ["grad_cam", "layer_cam", "cam"]
    everything = ExplanationMonitor(
        explainers, num_images=2, reports=[Scalars(), History(), Grid(num_images=2, cell_size=32)]
    )
    run = train([everything], lambda: Net(dropout=0.5), **data)
    assert differing(run.state(), expected.state()) == []
    assert run.values() == expected.values()
    assert len(everything.history) == 2
    assert "xai/cam/pointing_game" in everything.history[0]


def everything(folder):
    """The monitor with a budget and all that reads it: decisions, files, the report about accuracy."""
    reports = [Scalars(), History(), Grid(num_images=2, cell_size=32), AccuracyAlignment(table=False)]
    explainers = ["grad_cam", Constant(draws_from_torch)]
    watched = monitor(explainers, num_images=32, max_overhead=0.5, reports=reports)
    key = "xai/grad_cam/faithfulness_gain"
    stops = [
        ExplanationEarlyStopping(key, patience=99),
        ExplanationEarlyStopping(key, rule="no_gain", patience=99, only_if={"val_loss": ("<", 9.0)}),
    ]
    keep = ExplanationCheckpoint([key, "xai/grad_cam/insertion_auc"], rule="pareto", dirpath=folder, save_last=True)
    return [watched, *stops, keep, ExplanationCheckpoint(key, dirpath=folder / "best")]


def test_decisions_reports_and_a_budget_leave_no_trace(tmp_path, monkeypatch):
    settings = {"val_loader": loader(40, seed=1), "max_epochs": 3, "logger": CSVLogger(tmp_path)}
    expected = train([], lambda: Net(dropout=0.5), **settings)
    callbacks = everything(tmp_path / "kept")
    run = train(callbacks, lambda: Net(dropout=0.5), **settings)
    assert differing(run.state(), expected.state()) == []
    assert run.values() == expected.values()
    watched, guard, stop, front, best = callbacks
    assert watched._runs["fit"].choice is not None
    assert guard.decision is not None
    assert stop.decision is not None
    assert front.best_model_path
    assert best.best_model_path
    assert list(tmp_path.rglob("*accuracy_alignment*/**/*.png"))
    with unguarded(monkeypatch):
        run = train(everything(tmp_path / "unguarded"), lambda: Net(dropout=0.5), **settings)
    assert differing(run.state(), expected.state()) != []


class Caching(Net):
    """Keeps a tensor of its first forward, which in `trainer.validate` is one that autograd cannot use."""

    def __init__(self):
        super().__init__()
        self.scale = None

    def forward(self, images):
        if self.scale is None:
            self.scale = torch.full((1,), 2.0)
        return super().forward(images) * self.scale


def test_a_fit_after_validate_with_cached_tensors_is_that_without_inference_mode():
    expected = train([], Caching, before=validates_first, inference_mode=False)
    run = train([monitor()], Caching, before=validates_first)
    assert differing(run.state(), expected.state()) == []
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        train([], Caching, before=validates_first)
