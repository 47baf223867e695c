"""Watch the explanations of a small network get better while it learns; about a minute on two cores, offline.

    python examples/quickstart.py            # the same as `make demo`
    tensorboard --logdir runs/quickstart     # the curves and the heatmaps

The network learns to tell four shapes apart. After every epoch the monitor explains 32 validation images with Grad-CAM
and logs how faithful, stable and well placed the heatmaps are. The only lines about explanations are marked below.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from _shared.classifier import ImageClassifier
from _shared.epoch_table import EpochTable
from _shared.quiet import quiet_lightning
from _shared.run_folder import show_paths
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, ShapesDataset
from lightning_xai.reports import Filmstrip, Grid, History, HtmlReport, Maps, Scalars


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, explain, show."""
    settings = parse(arguments)
    quiet_lightning()
    L.seed_everything(settings.seed, verbose=False)
    train = ShapesDataset(settings.num_images)
    validation = ShapesDataset(settings.num_images // 4, seed=1)

    monitor = ExplanationMonitor(
        reports=[Scalars(), History(), Maps(), Grid(num_images=3), Filmstrip(num_images=3), HtmlReport()]
    )  # <- this line
    logger = TensorBoardLogger(settings.output, name="quickstart")
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=8,
        callbacks=[monitor, EpochTable(monitor, "Grad-CAM on 32 validation images")],  # <- and the first of these
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(
        ImageClassifier(num_classes=len(train.classes)),
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(validation, batch_size=128),
    )
    show_paths(Path(logger.log_dir))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--num-images", type=int, default=2048, help="for training; validation has a quarter of it")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
