import pytest
from lightning.pytorch.loggers import WandbLogger

_NAME = "xai/heatmaps"
_STEP_WARNING = "less than the current step"


@pytest.fixture
def logger(tmp_path, monkeypatch):
    for name, value in {"MODE": "offline", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    wandb_logger = WandbLogger(save_dir=tmp_path, project="test", offline=True)
    yield wandb_logger
    wandb_logger.experiment.finish()


@pytest.fixture
def rows(logger, monkeypatch):
    """What reaches W&B's own ``log``: the rows and every further argument."""
    seen, log = [], logger.experiment.log

    def spy(row, *args, **kwargs):
        seen.append((row, args, kwargs))
        log(row, *args, **kwargs)

    monkeypatch.setattr(logger.experiment, "log", spy)
    return seen


def test_pictures_stand_beside_the_scalars(fit, tmp_path, picture, png_of, logger, rows):
    callback, _ = fit(logger, caption="two cats", directory=tmp_path / "pictures")
    pictures = [row for row, _, _ in rows if _NAME in row]
    scores = [row for row, _, _ in rows if "score" in row]
    assert [row["trainer/global_step"] for row in pictures] == [row["trainer/global_step"] for row in scores] == [2, 5]
    assert [row[_NAME][0]._caption for row in pictures] == ["two cats", "two cats"]
    assert callback.written == [[], []]
    logger.experiment.finish()
    files = tmp_path.glob("wandb/offline-run-*/files/media/images/xai/heatmaps_*.png")
    in_order = sorted(files, key=lambda file: int(file.stem.split("_")[1]))
    assert [png_of(file).tolist() for file in in_order] == [(picture + epoch).tolist() for epoch in (0, 1)]


def test_no_row_is_dropped_for_its_step(fit, logger, rows, capfd):
    fit(logger)
    assert all((args, kwargs) == ((), {}) for _, args, kwargs in rows)
    assert _STEP_WARNING not in capfd.readouterr().err
    logger.experiment.log({"late": 1}, step=0)  # the way that loses data is noticed by this test
    logger.experiment.finish()
    assert _STEP_WARNING in capfd.readouterr().err
