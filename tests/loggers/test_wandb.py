import json
import warnings

import pytest
import torch
from lightning.pytorch.loggers import WandbLogger

_NAME = "xai/heatmaps"


@pytest.fixture
def logger(tmp_path, monkeypatch):
    for name, value in {"MODE": "offline", "SILENT": "true", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    wandb_logger = WandbLogger(save_dir=tmp_path, project="test", offline=True)
    yield wandb_logger
    wandb_logger.experiment.finish()


def test_pictures_captions_and_steps(fit, tmp_path, picture, png_of, logger, monkeypatch, capfd):
    rows = []
    log = logger.experiment.log
    monkeypatch.setattr(logger.experiment, "log", lambda row, *args, **kwargs: (rows.append((row, args, kwargs)), log(row)))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="wandb")
        callback, _ = fit(logger, caption="two cats", directory=tmp_path / "pictures")
    assert "step" not in capfd.readouterr().err.lower()
    assert all(args == () and kwargs == {} for _, args, kwargs in rows)  # no `step=`, which would drop rows
    with_picture = [row for row, _, _ in rows if _NAME in row]
    steps_of_scores = [row["trainer/global_step"] for row, _, _ in rows if "score" in row]
    assert [row["trainer/global_step"] for row in with_picture] == steps_of_scores == [2, 5]
    assert [row[_NAME][0]._caption for row in with_picture] == ["two cats", "two cats"]
    assert callback.written == [[], []]
    logger.experiment.finish()
    files = sorted(tmp_path.glob("wandb/offline-run-*/files/media/images/xai/*.png"), key=lambda file: file.stat().st_mtime)
    assert [png_of(file).tolist() for file in files] == [(picture + epoch).tolist() for epoch in (0, 1)]
