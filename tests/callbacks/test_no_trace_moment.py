"""The module, what the user logs, and averaged weights are the same right before and after an explanation."""

import csv
import random
from contextlib import ExitStack
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger

from lightning_xai import ExplanationMonitor
from tests.callbacks._harm import does_all_harm, fails
from tests.callbacks._runs import QUIET, Constant, Net, differing, loader, monitor, train, unguarded


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# The moment itself.


class PartlyFrozen(Net):
    """One layer is frozen, and the statistics of another."""

    def __init__(self):
        super().__init__()
        self.net[0].requires_grad_(requires_grad=False)

    def on_train_epoch_start(self):
        self.net[1].eval()


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


@pytest.mark.parametrize("failing", [None, fails], ids=["succeeds", "raises"])
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_the_module_is_the_same_right_before_and_after(guarded, failing, monkeypatch):
    witness, explainer = Witness(), Constant(does_all_harm, fails=failing)
    settings = {"accumulate_grad_batches": 3, "val_check_interval": 2, "num_sanity_val_steps": 0}
    with ExitStack() as stack:
        if not guarded:
            stack.enter_context(unguarded(monkeypatch))
        if failing is not None:
            stack.enter_context(pytest.warns(UserWarning, match="no heatmap today"))
        # without the alarm, whose own hooks listen to a validation until it ends
        train([monitor(explainer, shortcut_alarm=False), witness], PartlyFrozen, **settings)
    assert len(witness.before) == len(witness.after) == 4
    assert any(not grad_is_none for moment in witness.before for grad_is_none, _ in moment["grads"])
    changed = {k for b, a in zip(witness.before, witness.after, strict=True) for k in b if b[k] != a[k]}
    everywhere = {"modes", "hooks", "grads", "same_grads", "flags", "values", "same_buffers", "random"}
    assert changed == (set() if guarded else everywhere)


@pytest.mark.filterwarnings("ignore:.*though all of it lies in")  # by chance, untrained
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
@pytest.mark.parametrize("stage", ["validate", "test"])
def test_other_stages_leave_the_module_and_the_process_as_they_were(stage, guarded, monkeypatch):
    def state_after(*callbacks):
        L.seed_everything(5, verbose=False)
        trainer, module = L.Trainer(**QUIET, callbacks=list(callbacks)), PartlyFrozen()
        module.head.weight.grad = torch.ones_like(module.head.weight)
        getattr(trainer, stage)(module, loader(6), verbose=False)
        found = everything_about(module)
        return {name: found[name] for name in ("modes", "flags", "values", "random")}

    expected = state_after()
    with ExitStack() as stack:
        if not guarded:
            stack.enter_context(unguarded(monkeypatch))
        found = state_after(monitor(Constant(does_all_harm)))
    assert {name for name in found if found[name] != expected[name]} == (
        set() if guarded else {"flags", "values", "random"}
    )


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
