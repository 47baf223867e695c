"""A LightningCLI's own run folder is compared in one command."""

import warnings

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_xai.cli.main import main


class Net(L.LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)
        )

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Data(L.LightningDataModule):
    def __init__(self, num_images: int = 4):
        super().__init__()
        images = torch.rand(num_images, 3, 12, 12, generator=torch.Generator().manual_seed(0))
        self.data = TensorDataset(images, torch.arange(num_images) % 3)

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=4)

    val_dataloader = train_dataloader


def test_in_one_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, data = f"{__name__}.Net", f"{__name__}.Data"
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]
    logger = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=runs"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LightningCLI(
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=["fit", f"--model={model}", "--model.width=5", f"--data={data}", *quiet, *logger],
        )
    (folder,) = tmp_path.glob("runs/lightning_logs/version_0")
    given = [
        "--models",
        str(folder),
        "--data",
        data,
        "--explainers",
        "grad_cam",
        "hires_cam",
        "--metrics",
        "sparseness",
    ]
    assert main(["compare", *given, "--output", "out", "--device", "cpu"]) == 0
    assert "grad_cam = hires_cam" in capsys.readouterr().out
    page = (tmp_path / "out" / "table.md").read_text()
    assert page.startswith("**version_0 · Data · target=label**")
