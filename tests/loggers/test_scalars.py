from types import SimpleNamespace

import lightning.pytorch as L
import pytest
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_xai.loggers import scalar_name, scalar_step

_FOUND_IN = "Lightning 2.6.6"


def test_the_private_attributes_are_still_there(tmp_path):
    """If this fails after an upgrade, look in the new Lightning where its loggers get their step and prefix from."""
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    message = f"found in {_FOUND_IN}, missing in {L.__version__}"
    assert hasattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped"), message
    assert CSVLogger(tmp_path, prefix="run")._prefix == "run", message


@pytest.mark.parametrize("kind", [TensorBoardLogger, CSVLogger, WandbLogger, MLFlowLogger])
def test_names_get_the_prefix_that_scalars_get(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    if kind is MLFlowLogger:
        pytest.importorskip("mlflow")
    assert scalar_name(kind(save_dir=str(tmp_path), prefix="run"), "xai/grid") == "run-xai/grid"
    assert scalar_name(kind(save_dir=str(tmp_path)), "xai/grid") == "xai/grid"


def test_without_the_counter_the_global_step_is_used():
    assert scalar_step(SimpleNamespace(global_step=9)) == 9
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=8))
    assert scalar_step(SimpleNamespace(global_step=9, fit_loop=loop)) == 8
