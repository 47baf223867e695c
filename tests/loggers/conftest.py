import lightning.pytorch as L
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_xai.loggers import log_picture

NAME = "xai/heatmaps"


class OneWeight(L.LightningModule):
    """The smallest module with a scalar to log in validation."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch):
        return self.layer(batch).sum()

    def validation_step(self, batch):
        self.log("score", self.layer(batch).sum())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class LogEveryEpoch(L.Callback):
    """Logs a picture when validation ends and remembers what and when."""

    def __init__(self, picture, **kwargs):
        self.picture, self.kwargs, self.written = picture, kwargs, []

    def on_validation_epoch_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            shifted = self.picture + trainer.current_epoch  # every epoch has its own picture
            self.written.append(log_picture(trainer, NAME, shifted, **self.kwargs))


@pytest.fixture
def picture():
    return torch.randint(0, 250, (6, 9, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def fit(tmp_path, picture):
    """Train for two epochs of three batches with the given loggers and give back the callback and the Trainer."""

    def run(logger, **kwargs):
        callback = LogEveryEpoch(picture, **kwargs)
        trainer = L.Trainer(
            accelerator="cpu",
            default_root_dir=tmp_path,
            max_epochs=2,
            logger=logger,
            callbacks=[callback],
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader = DataLoader(torch.ones(3, 1))
        trainer.fit(OneWeight(), loader, loader)
        return callback, trainer

    return run


@pytest.fixture
def png_of():
    """Read a PNG back as uint8 (H, W, 3)."""
    import numpy as np
    from PIL import Image

    def read(path):
        with Image.open(path) as image:
            return torch.from_numpy(np.array(image.convert("RGB")))

    return read
