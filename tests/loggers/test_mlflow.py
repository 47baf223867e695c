import re

import pytest
import torch
from lightning.pytorch.loggers import MLFlowLogger

pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def _file_store(monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def pictures_of(logger, root):
    """The stored pictures by step."""
    files = root.glob(f"mlruns/*/{logger.run_id}/artifacts/images/*.png")
    return {int(re.split(r"[+%]step[+%]", file.name)[1].split("+")[0].split("%")[0]): file for file in files}


@pytest.mark.filterwarnings("ignore:MLFlow only allows")
@pytest.mark.parametrize("prefix", ["", "run(1)"])
def test_pictures_stand_beside_the_scalars(fit, tmp_path, picture, png_of, prefix):
    logger = MLFlowLogger("test", save_dir=str(tmp_path / "mlruns"), prefix=prefix)
    callback, _ = fit(logger, caption="no place for it", directory=tmp_path / "pictures")
    before = "run1-" if prefix else ""
    scores = logger.experiment.get_metric_history(logger.run_id, f"{before}score")
    files = pictures_of(logger, tmp_path)
    assert sorted(files) == sorted(score.step for score in scores) == [2, 5]
    for epoch, step in enumerate(sorted(files)):
        assert re.match(rf"{before}xai[~#]heatmaps[+%]step[+%]", files[step].name)  # by version
        assert torch.equal(png_of(files[step]), picture + epoch)
    assert callback.written == [[], []]
    assert not (tmp_path / "pictures").exists()
