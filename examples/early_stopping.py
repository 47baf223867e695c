"""Stop a run, and choose its checkpoint, by the faithfulness of its explanations.

    python examples/early_stopping.py        # about two minutes on two cores

`EarlyStopping` and `ModelCheckpoint` are Lightning's own: they read ``xai/faithfulness`` as they would read a loss.
Measured with the defaults: accuracy reaches 1.00 in epoch 12, the run stops after epoch 18 of at most 30. Gains
below `--min-delta` do not count: the standard error over the 32 images is about 0.03. Faithfulness also rises with the
network's confidence: `best_explained.py` shows what decides on paired differences among equally accurate checkpoints.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from _shared.classifier import ImageClassifier
from _shared.epoch_table import EpochTable
from _shared.quiet import quiet_lightning
from _shared.run_folder import print_facts
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, ShapesDataset


def main(arguments: Sequence[str] | None = None) -> None:
    """Train until explanations no longer become more faithful."""
    settings = parse(arguments)
    quiet_lightning()
    L.seed_everything(settings.seed, verbose=False)
    train = ShapesDataset(settings.num_images)
    validation = ShapesDataset(settings.num_images // 4, seed=1)

    monitor = ExplanationMonitor()
    stop = EarlyStopping("xai/faithfulness", mode="max", patience=settings.patience, min_delta=settings.min_delta)
    keep = ModelCheckpoint(
        monitor="xai/faithfulness",
        mode="max",
        filename="epoch={epoch}-faithfulness={xai/faithfulness:.3f}",
        auto_insert_metric_name=False,  # with it, the slash of the key would make a folder
    )
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(settings.output, name="early_stopping"),
        log_every_n_steps=8,
        callbacks=[monitor, stop, keep, EpochTable(monitor, "Faithfulness decides when to stop")],
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(
        ImageClassifier(num_classes=len(train.classes)),
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(validation, batch_size=128),
    )
    best = max(monitor.history, key=lambda row: row["xai/faithfulness"])
    reason = f"no gain of {settings.min_delta:g} in {settings.patience} epochs"
    ending = f"by EarlyStopping after epoch {stop.stopped_epoch}: {reason}" if stop.stopped_epoch else "at --epochs"
    print_facts(
        {
            "stopped": ending,
            "best": f"epoch {best['epoch']}, faithfulness {best['xai/faithfulness']:.3f}",
            "kept": str(keep.best_model_path),
        }
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="at most")
    parser.add_argument("--patience", type=int, default=3, help="epochs without a gain before the run stops")
    parser.add_argument("--min-delta", type=float, default=0.01, help="what counts as a gain")
    parser.add_argument("--num-images", type=int, default=1024, help="for training; validation has a quarter of it")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
