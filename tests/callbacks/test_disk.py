"""What cannot be written is told, and the run goes on."""

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_xai.reports import Grid, History, Report, Scalars
from tests.callbacks._runs import Net, monitor, train


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_history_that_cannot_be_written(tmp_path):
    (tmp_path / "full").write_text("a file where the folder should be")
    ours = monitor()
    with pytest.warns(UserWarning, match="could not tell epoch"):
        run = train([ours], default_root_dir=tmp_path / "full")
    assert run.trainer.current_epoch == 2
    assert len(ours.history) == 2


def test_a_full_disk(monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_xai.reports.numbers.write_file", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        run = train([monitor()])
    assert run.trainer.current_epoch == 2
    assert "xai/faithfulness" in run.trainer.callback_metrics


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("gone"), TypeError("gone"), KeyError("gone")])
def test_a_logger_that_fails(error, tmp_path):
    class Failing(TensorBoardLogger):
        @property
        def experiment(self):
            if "add_image" in self.failing:
                raise error
            return super().experiment

    logger = Failing(tmp_path)
    logger.failing = ()
    ours = monitor(reports=[Scalars(), History(), Grid(num_images=2, cell_size=32)])

    class Breaks(Net):
        def on_validation_epoch_start(self):
            logger.failing = ("add_image",)

        def on_validation_epoch_end(self):
            logger.failing = ()

    with pytest.warns(UserWarning, match="could not tell epoch"):
        run = train([ours], Breaks, logger=logger)
    assert run.trainer.current_epoch == 2
    assert len(ours.history) == 2
    assert list(tmp_path.rglob("xai_history.csv"))


def test_a_report_that_fails_touches_no_other(tmp_path):
    class Failing(Report):
        def publish(self, epoch, run):
            raise LookupError("nothing to tell")

    ours = monitor(reports=[Failing(), Scalars(), Failing(), History()])
    with pytest.warns(UserWarning, match="Failing could not tell epoch 1: LookupError: nothing to tell"):
        run = train([ours], default_root_dir=tmp_path)
    assert len(ours.history) == 2
    assert "xai/faithfulness" in run.trainer.callback_metrics
    assert (tmp_path / "xai_history.csv").exists()
