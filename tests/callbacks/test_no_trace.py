"""Training is bit for bit what it is without the monitor; without its guard it is not."""

import csv
import random
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F

from lightning_xai import ExplanationMonitor
from lightning_xai.callbacks import Grid, sample_from_batch
from lightning_xai.metrics import list_metrics
from tests.callbacks._runs import Constant, Net, differing, loader, monitor, train, unguarded


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# What a careless explainer does.


def draws_from_torch(classifier, images):
    torch.rand(3)


def draws_from_numpy(classifier, images):
    np.random.rand(3)


def draws_from_python(classifier, images):
    random.random()


def trains_the_statistics(classifier, images):
    classifier.model.train()
    classifier.forward(images)


def calls_backward(classifier, images):
    classifier.forward(images).sum().backward()


def thaws(classifier, images):
    classifier.model.requires_grad_(requires_grad=True)


def leaves_a_hook(classifier, images):
    classifier.model.head.register_forward_hook(lambda module, args, output: output * 0.5)


def writes_a_buffer(classifier, images):
    batch_norm = next(m for m in classifier.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    batch_norm.running_var = batch_norm.running_var * 2.0


# Runs in which something can go wrong.


class FrozenStatistics(Net):
    def on_train_epoch_start(self):
        self.net[1].eval()


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


def fails():
    raise RuntimeError("no heatmap today")


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


def test_everything_switched_on_leaves_no_trace():
    data = {"val_loader": loader(10, seed=1, masks=True), "train_loader": loader(masks=True, shuffle=True)}
    expected = train([], lambda: Net(dropout=0.5), **data)
    explainers = ["grad_cam", "grad_cam_plus_plus", "xgrad_cam", "hires_cam", "layer_cam", "cam", "random_heatmap"]
    everything = monitor(explainers, list(list_metrics()), num_images=3, grid=Grid(num_images=2, cell_size=32))
    run = train([everything], lambda: Net(dropout=0.5), **data)
    assert differing(run.state(), expected.state()) == []
    assert run.values() == expected.values()
    assert len(everything.history) == 2
    assert "xai/cam/pointing_game" in everything.history[0]


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


# The moment itself.


def everything_about(module):
    """Modes, hooks, gradients, buffers, flags and the three random states."""
    hooks = {f"{name}.{table}": dict(vars(m)[table]) for name, m in module.named_modules() for table in HOOKS}
    return {
        "modes": [m.training for m in module.modules()],
        "hooks": hooks,
        "grads": [(p.grad is None, None if p.grad is None else p.grad.tolist()) for p in module.parameters()],
        "same_grads": [id(p.grad) for p in module.parameters()],
        "flags": [p.requires_grad for p in module.parameters()],
        "values": {name: value.tolist() for name, value in module.state_dict().items()},
        "same_buffers": [id(b) for b in module.buffers()],
        "random": (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()),
        "gradients_enabled": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Witness(L.Callback):
    """Looks at the module right before and right after the monitor explains it."""

    def __init__(self):
        self.before, self.after = [], []

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx == trainer.num_val_batches[0] - 1:
            self.before.append(everything_about(pl_module))

    def on_validation_epoch_end(self, trainer, pl_module):
        self.after.append(everything_about(pl_module))


def does_all_harm(classifier, images):
    for harm in (draws_from_torch, draws_from_numpy, draws_from_python, thaws, trains_the_statistics, leaves_a_hook):
        harm(classifier, images)
    writes_a_buffer(classifier, images)
    calls_backward(classifier, images)


@pytest.mark.parametrize("failing", [None, fails], ids=["succeeds", "raises"])
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_the_module_is_the_same_right_before_and_after(guarded, failing, monkeypatch):
    class Mixed(PartlyFrozen):
        def on_train_epoch_start(self):
            self.net[1].eval()

    witness, explainer = Witness(), Constant(does_all_harm, fails=failing)
    settings = {**MIDWAY, "num_sanity_val_steps": 0}
    with ExitStack() as stack:
        if not guarded:
            stack.enter_context(unguarded(monkeypatch))
        if failing is not None:
            stack.enter_context(pytest.warns(UserWarning, match="no heatmap today"))
        train([monitor(explainer), witness], Mixed, **settings)
    assert len(witness.before) == len(witness.after) == 4
    assert any(not grad_is_none for moment in witness.before for grad_is_none, _ in moment["grads"])
    changed = {k for b, a in zip(witness.before, witness.after, strict=True) for k in b if b[k] != a[k]}
    everywhere = {"modes", "hooks", "grads", "same_grads", "flags", "values", "same_buffers", "random"}
    assert changed == (set() if guarded else everywhere)


# What the user logs.


class Talkative(Net):
    """Logs and counts inside `forward`, so that our forwards would be logged and counted as well."""

    def __init__(self):
        super().__init__()
        self.seen = torchmetrics.MeanMetric()

    def forward(self, images):
        logits = super().forward(images)
        if self.trainer.validating or self.trainer.sanity_checking:
            self.log("mean_logit", logits.mean())
            self.seen.update(images.mean())
        return logits

    def on_validation_epoch_end(self):
        self.log("seen", self.seen.compute())
        self.log("updates", float(self.seen.weight))
        self.seen.reset()


def csv_rows(run):
    """Rows of the CSV logger without our columns, and whether we had some."""
    with (Path(run.trainer.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    own = [{k: v for k, v in row.items() if not k.startswith("xai/") and v != ""} for row in rows]
    return own, any(k.startswith("xai/") for row in rows for k in row)


@pytest.mark.parametrize("make", [Net, Talkative], ids=["plain", "logs_in_forward"])
def test_the_users_own_values_are_the_same(make, tmp_path):
    expected = train([], make, logger=CSVLogger(tmp_path, "without"))
    run = train([monitor()], make, logger=CSVLogger(tmp_path, "with"))
    assert run.values() == expected.values()
    assert csv_rows(run) == (csv_rows(expected)[0], True)
    assert differing(run.state(), expected.state()) == []


def test_without_the_guard_values_that_are_logged_in_forward_change(monkeypatch, tmp_path):
    expected = train([], Talkative, logger=CSVLogger(tmp_path, "without"))
    with unguarded(monkeypatch):
        run = train([monitor()], Talkative, logger=CSVLogger(tmp_path, "with"))
    assert run.values()["mean_logit"] != expected.values()["mean_logit"]
    assert run.values()["updates"] > expected.values()["updates"]


# Weight averaging.


class Validated(Net):
    """Notes which weights `validation_step` saw."""

    def __init__(self):
        super().__init__()
        self.validated = []

    def validation_step(self, batch, batch_idx):
        self.validated.append(fingerprint(self))
        super().validation_step(batch, batch_idx)


def fingerprint(module):
    return hash(tuple(value.item() for tensor in module.state_dict().values() for value in tensor.flatten()))


class Last(L.Callback):
    """Takes the monitor's first place away from it."""

    def on_fit_start(self, trainer, pl_module):
        trainer.callbacks = sorted(trainer.callbacks, key=lambda c: isinstance(c, ExplanationMonitor))


@pytest.mark.parametrize(
    ("order", "extra", "as_validated"),
    [(1, [], True), (-1, [], True), (1, [Last], False)],
    ids=["monitor_first", "averaging_first", "control"],
)
def test_with_weight_averaging_the_explained_weights_are_the_validated_ones(order, extra, as_validated):
    explained = []
    explainer = Constant(lambda classifier, images: explained.append(fingerprint(classifier.model)))
    callbacks = [monitor(explainer, []), EMAWeightAveraging(decay=0.5)][::order]
    run = train([*callbacks, *(make() for make in extra)], Validated)
    assert len(set(run.module.validated)) >= 2
    assert (list(dict.fromkeys(explained)) == list(dict.fromkeys(run.module.validated))) is as_validated
