"""Train, stop and choose: which epoch each rule would take, and what it is worth.

    python examples/best_explained.py              # about a minute on two cores
    python examples/best_explained.py --seeds 0 1 2

Every run goes to its end; afterwards the rules are asked, on what they had seen until each epoch, when they would have
stopped, or which checkpoint they would have kept. `ExplanationCheckpoint` is in the run itself: its choice is on the
disk. The table says of each epoch what validation accuracy and explanations were.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from _shared.classifier import ImageClassifier
from _shared.quiet import quiet_lightning
from _shared.rules import highest, most_accurate, plain_stop, stop_at_a_fall, stop_without_gain
from lightning.pytorch.callbacks import LambdaCallback
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from lightning_xai import ExplanationCheckpoint, ExplanationMonitor, ShapesDataset


def main(arguments: Sequence[str] | None = None) -> None:
    """Train once per seed and print the table."""
    settings = parse(arguments)
    quiet_lightning()
    table = Table(title="Which epoch each rule takes, and what it is worth", title_justify="left")
    for column in ("seed", "rule", "epoch", "accuracy", "faithfulness", "gain"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    reasons = []
    for seed in settings.seeds:
        monitor, accuracies, keep = trained(settings, seed)
        for rule, epoch in choices(monitor, accuracies, keep).items():
            row = ("–",) * 4 if epoch is None else told(monitor, accuracies, epoch)
            table.add_row(str(seed), rule, *row)
        table.add_section()
        reasons.append(f"seed {seed}: {keep.reason}")
    console = Console(width=max(Console().width, 110))
    console.print(table)
    for reason in reasons:
        console.print(reason, highlight=False, soft_wrap=True)


def trained(
    settings: argparse.Namespace, seed: int
) -> tuple[ExplanationMonitor, dict[int, float], ExplanationCheckpoint]:
    L.seed_everything(seed, verbose=False)
    train = ShapesDataset(settings.num_images, seed=10 + seed, image_size=settings.image_size)
    validation = ShapesDataset(settings.num_images // 4, seed=100 + seed, image_size=settings.image_size)
    monitor = ExplanationMonitor(metrics="insertion_deletion", num_images=settings.num_explained)
    accuracies: dict[int, float] = {}
    remember = LambdaCallback(
        on_train_epoch_end=lambda trainer, _: accuracies.update(
            {trainer.current_epoch: float(trainer.callback_metrics["val_accuracy"])}
        )
    )
    keep = ExplanationCheckpoint(accuracy="val_accuracy", dirpath=settings.output / "best_explained" / str(seed))
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=settings.output / "best_explained" / str(seed),
        callbacks=[monitor, remember, keep],
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(
        ImageClassifier(num_classes=len(train.classes)),
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(validation, batch_size=128),
    )
    return monitor, accuracies, keep


def choices(
    monitor: ExplanationMonitor, accuracies: dict[int, float], keep: ExplanationCheckpoint
) -> dict[str, int | None]:
    """Return the epoch that each rule takes; None where it would not have stopped."""
    history = monitor.history
    best = max(keep.kept, key=lambda one: one.path == keep.best_model_path)
    return {
        "the last epoch": max(accuracies),
        "most accurate": most_accurate(accuracies),
        "most faithful (ModelCheckpoint)": highest(history, "xai/faithfulness"),
        "greatest gain": highest(history, "xai/faithfulness_gain"),
        "stop: EarlyStopping on faithfulness": plain_stop(history),
        "stop: gain has fallen": stop_at_a_fall(history),
        "stop: no gain while accuracy ≥ 0.8": stop_without_gain(history, accuracies, 0.8),
        "ExplanationCheckpoint": best.epoch,
    }


def told(monitor: ExplanationMonitor, accuracies: dict[int, float], epoch: int) -> tuple[str, ...]:
    estimates = next(row for row in monitor.history if row.epoch == epoch).estimates
    scores = (str(estimates[f"xai/{name}"]) for name in ("faithfulness", "faithfulness_gain"))
    return str(epoch), f"{accuracies[epoch]:.3f}", *scores


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--num-images", type=int, default=1024, help="for training; validation has a quarter of it")
    parser.add_argument("--image-size", type=int, default=32, help="in pixels")
    parser.add_argument("--num-explained", type=int, default=32, help="images in the probe")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
