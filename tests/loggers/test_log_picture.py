import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lightning_xai.loggers
from lightning_xai.loggers import PictureLoggingError, log_picture

_NAME = "xai/heatmaps"


class Broken(TensorBoardLogger):
    """A subclass whose network is down."""

    @property
    def experiment(self):
        raise ConnectionError("network is down")


def trainer_with(*loggers, is_global_zero=True):
    return SimpleNamespace(loggers=list(loggers), is_global_zero=is_global_zero, global_step=7, current_epoch=3)


def images_in(logger):
    return EventAccumulator(logger.log_dir).Reload().Tags()["images"]


@pytest.mark.parametrize("csv", [False, True])
def test_without_a_logger_for_pictures_they_become_files(fit, tmp_path, picture, png_of, csv):
    logger = CSVLogger(tmp_path, name="csv") if csv else False
    callback, _ = fit(logger, directory=tmp_path / "pictures")
    names = ["epoch=0000-step=00000002.png", "epoch=0001-step=00000005.png"]
    paths = [tmp_path / "pictures" / "xai" / "heatmaps" / name for name in names]
    assert callback.written == [[path] for path in paths]
    for epoch, path in enumerate(paths):
        assert torch.equal(png_of(path), picture + epoch)


def test_a_folder_may_be_remote(picture, png_of):
    (url,) = log_picture(trainer_with(), _NAME, picture, directory="memory://runs/b")
    assert url == "memory://runs/b/xai/heatmaps/epoch=0003-step=00000007.png"
    assert torch.equal(png_of(io.BytesIO(fsspec.filesystem("memory").cat_file(url))), picture)


def test_a_local_folder_may_be_a_str(tmp_path, picture, png_of):
    (path,) = log_picture(trainer_with(), _NAME, picture, directory=str(tmp_path))
    assert path == tmp_path / "xai" / "heatmaps" / "epoch=0003-step=00000007.png"
    assert torch.equal(png_of(path), picture)


def test_without_a_logger_two_files_bring_the_picture_to_the_folder(tmp_path, picture):
    folder, files = Path(lightning_xai.loggers.__file__).parent, set()
    sys.setprofile(lambda frame, *_: files.add(Path(frame.f_code.co_filename)))
    try:
        log_picture(trainer_with(), _NAME, picture, directory=tmp_path)
    finally:
        sys.setprofile(None)
    assert {file.name for file in files if file.parent == folder} == {"files.py", "log_picture.py"}


def test_several_loggers_at_once(fit, tmp_path):
    first, second = (TensorBoardLogger(tmp_path, name=name) for name in ("first", "second"))
    callback, _ = fit([CSVLogger(tmp_path, name="csv"), first, second], directory=tmp_path / "pictures")
    assert images_in(first) == images_in(second) == [_NAME]
    assert callback.written == [[], []]
    assert not (tmp_path / "pictures").exists()


def test_subclasses_of_loggers_count(tmp_path, picture):
    class Mine(TensorBoardLogger):
        pass

    logger = Mine(tmp_path)
    assert log_picture(trainer_with(logger), _NAME, picture, directory=tmp_path / "pictures") == []
    logger.finalize("success")
    assert images_in(logger) == [_NAME]


def test_without_a_directory_nothing_is_written(tmp_path, picture):
    assert log_picture(trainer_with(CSVLogger(tmp_path)), _NAME, picture) == []
    assert list(tmp_path.rglob("*")) == []


def test_other_ranks_do_nothing(tmp_path, picture):
    trainer = trainer_with(Broken(tmp_path), is_global_zero=False)
    assert log_picture(trainer, _NAME, picture, directory=tmp_path) == []
    assert list(tmp_path.rglob("*")) == []


def test_a_failing_logger_stops_no_other_and_is_named(tmp_path, picture):
    works = TensorBoardLogger(tmp_path, name="works")
    trainer = trainer_with(Broken(tmp_path), works)
    message = (
        'picture "xai/heatmaps" to be logged everywhere, but it failed for Broken: ConnectionError: network is down'
    )
    with pytest.raises(PictureLoggingError, match=message) as caught:
        log_picture(trainer, _NAME, picture, directory=tmp_path / "pictures")
    assert isinstance(caught.value.__cause__, ConnectionError)
    works.finalize("success")
    assert images_in(works) == [_NAME]
    assert not (tmp_path / "pictures").exists()


def test_if_all_loggers_fail_the_picture_is_still_saved(tmp_path, picture, png_of):
    trainer = trainer_with(Broken(tmp_path), Broken(tmp_path))
    with pytest.raises(PictureLoggingError, match=r"Broken: .*; Broken: "):
        log_picture(trainer, _NAME, picture, directory=tmp_path / "pictures")
    path = tmp_path / "pictures" / "xai" / "heatmaps" / "epoch=0003-step=00000007.png"
    assert torch.equal(png_of(path), picture)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, picture):
    (tmp_path / "file").touch()
    with pytest.raises(PictureLoggingError, match=r"failed for the folder .*file: "):
        log_picture(trainer_with(), _NAME, picture, directory=tmp_path / "file")


def test_a_filesystem_that_is_not_known_is_named(picture):
    with pytest.raises(
        PictureLoggingError, match="failed for the folder nowhere://runs: ValueError: Protocol not known"
    ):
        log_picture(trainer_with(), _NAME, picture, directory="nowhere://runs")


def test_tracking_libraries_are_imported_only_by_their_loggers(tmp_path):
    code = f"""
import sys
import lightning_xai.loggers, lightning_xai.visualization
eager = [name for name in ("lightning", "matplotlib", "PIL", "tensorboard", "wandb", "mlflow") if name in sys.modules]
import torch
from types import SimpleNamespace
from lightning.pytorch.loggers import CSVLogger
trainer = SimpleNamespace(loggers=[CSVLogger({str(tmp_path)!r})], is_global_zero=True, global_step=0, current_epoch=0)
lightning_xai.loggers.log_picture(trainer, "grid", torch.zeros(2, 2, 3, dtype=torch.uint8))
print(eager, [name for name in ("wandb", "mlflow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
