"""A Trainer's own bar decides where evaluations are shown: a line of its rich display, or tqdm beside its tqdm."""

import io
import math
import re
import time

import lightning as L
import pytest
import rich
import torch
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_xai.callbacks.steps.progress import evaluations_shown
from lightning_xai.model import progress


class Evaluating(L.Callback):
    """Tells of twenty evaluations, five at a time, and fails after them if it shall."""

    def __init__(self, error=None, total=20):
        self.error, self.total = error, total

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            with evaluations_shown(trainer, self.total) as advance:
                for _ in range(4):
                    advance(5)
                    time.sleep(0.1)  # rich draws ten times a second
                if self.error is not None:
                    raise self.error


def trained(tmp_path, bar, *, epochs=1, error=None, total=20):
    trainer = L.Trainer(
        max_epochs=epochs,
        limit_train_batches=1,
        limit_val_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[bar, Evaluating(error, total)],
    )
    data = torch.utils.data.DataLoader(torch.ones(2, 32))
    trainer.fit(BoringModel(), data, data)
    return trainer


@pytest.fixture
def screen():
    """What rich draws on a terminal."""
    output = io.StringIO()
    yield output, RichProgressBar(console_kwargs={"file": output, "force_terminal": True, "width": 100})
    rich.reconfigure()


def lines_of(trainer):
    tasks = trainer.progress_bar_callback.progress.tasks
    return [(task.visible, task.completed, task.total) for task in tasks if task.description == "Explaining"]


def test_one_line_of_the_rich_display_for_all_epochs(tmp_path, screen, monkeypatch, capfd):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    output, bar = screen
    trainer = trained(tmp_path, bar, epochs=2)
    assert lines_of(trainer) == [(False, 20, 20)]
    tasks = trainer.progress_bar_callback.progress.tasks
    assert [task.id for task in tasks] == list(range(len(tasks)))  # Lightning finds its own by position
    assert re.search(r"Explaining [^\n]*\d+/20", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue()))
    assert "Explaining" not in "".join(capfd.readouterr())  # no second display


def test_a_cost_that_nobody_knows(tmp_path, screen, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    _, bar = screen
    assert lines_of(trained(tmp_path, bar, epochs=2, total=None)) == [(False, 20, math.inf)]


def test_an_error_takes_the_line_away(tmp_path, screen, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    _, bar = screen
    with pytest.raises(ArithmeticError):
        trained(tmp_path, bar, error=ArithmeticError())
    assert [visible for visible, _, _ in lines_of(bar.trainer)] == [False]


def test_tqdm_beside_the_trainer_s(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    trained(tmp_path, TQDMProgressBar())
    assert re.search(r"Explaining:.* 5/20 \[.*img/s\]", capfd.readouterr().err)


@pytest.mark.parametrize("bar", [RichProgressBar(refresh_rate=0), TQDMProgressBar(refresh_rate=0)])
def test_where_the_trainer_s_is_off_nothing_is_shown(tmp_path, monkeypatch, capfd, bar):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    trained(tmp_path, bar)
    assert "Explaining" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("make", [RichProgressBar, TQDMProgressBar])
def test_what_is_quick_shows_nothing(tmp_path, make, capfd):
    trained(tmp_path, make())
    assert "Explaining" not in "".join(capfd.readouterr())
    rich.reconfigure()
