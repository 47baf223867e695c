"""Catch a model that is right for the wrong reason: accuracy rises, and the heatmaps leave the object.

    python examples/shortcut.py              # about four minutes on two cores
    tensorboard --logdir runs/shortcut

Two networks learn the same four shapes. Every image carries a small coloured badge in a corner. In the run *clean* its
colour is random; in the run *shortcut* it names the right class in 99 % of the images, for training and validation
alike, as a watermark or a hospital's tag would. Measured with the defaults, after eight epochs:

    run       accuracy  hottest point on the object  faithfulness  accuracy where the badge says nothing
    clean       1.00               0.84                  0.54                     1.00
    shortcut    0.99               0.00                  0.70                     0.25, chance

Accuracy welcomes the shortcut. Faithfulness does too, rightly: the heatmaps show what the network uses, the badge. Only
localization tells. At 95 % the network begins to learn the shapes too, from the images in which the badge is wrong:
accuracy 0.97, hottest point on the object 0.09, accuracy where the badge says nothing 0.45.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
from _shared.classifier import ImageClassifier
from _shared.epoch_table import EpochTable
from _shared.quiet import quiet_lightning
from _shared.run_folder import print_facts, save_grids
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, ShapesDataset
from lightning_xai.reports import Grid, History, Scalars

NUM_CLASSES = 4
AGREEMENT = {"clean": 1 / NUM_CLASSES, "shortcut": 0.99}  # how often the badge names the class
COLOURS = {"clean": "#0072b2", "shortcut": "#d55e00"}
CURVES = {
    "val_accuracy": "validation accuracy",
    "xai/pointing_game": "pointing game: hottest point on the object",
    "xai/relevance_rank_accuracy": "hottest pixels: share on the object",
}
Rows = list[dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both, plot both."""
    settings = parse(arguments)
    quiet_lightning()
    rows, without_badge = {}, {}
    for name, agreement in AGREEMENT.items():
        rows[name], without_badge[name] = run(name, agreement, settings)
    picture = plot(rows, settings.output / "shortcut" / "accuracy_and_localization.png")
    print_facts(
        {
            "accuracy where the badge says nothing": ", ".join(f"{n} {a:.2f}" for n, a in without_badge.items()),
            "picture": str(picture),
            "heatmaps": f"{settings.output / 'shortcut' / '{clean,shortcut}' / 'heatmaps'}",
            "curves": f"tensorboard --logdir {settings.output / 'shortcut'}",
        }
    )


def run(name: str, agreement: float, settings: argparse.Namespace) -> tuple[Rows, float]:
    """Train one network; return a row per epoch, and its accuracy on images whose badge says nothing."""
    L.seed_everything(settings.seed, verbose=False)
    num_images, num_held_out = settings.num_images, settings.num_images // 4
    train = ShapesDataset(num_images, num_classes=NUM_CLASSES, shortcut=agreement)
    validation = ShapesDataset(num_held_out, num_classes=NUM_CLASSES, shortcut=agreement, seed=1)
    uninformative = ShapesDataset(num_held_out, num_classes=NUM_CLASSES, shortcut=1 / NUM_CLASSES, seed=1)

    monitor = ExplanationMonitor(
        reports=[Scalars(), History(), Grid(num_images=NUM_CLASSES, class_names=train.classes)]
    )
    table = EpochTable(monitor, f"{name}: the badge names the class in {agreement:.0%} of the images")
    model = ImageClassifier(NUM_CLASSES)
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(settings.output, name="shortcut", version=name),
        log_every_n_steps=8,
        callbacks=[monitor, table],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True), DataLoader(validation, batch_size=128))
    save_grids(Path(trainer.logger.log_dir))
    blind = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (values,) = blind.validate(model, DataLoader(uninformative, batch_size=128), verbose=False)
    return table.rows, values["val_accuracy"]


def plot(rows: Mapping[str, Rows], path: Path) -> Path:
    """Draw a panel per curve with a line per run; return the picture's path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(CURVES), sharex=True)
    for panel, (key, title) in zip(panels, CURVES.items(), strict=True):
        for name, colour in COLOURS.items():
            epochs, values = [row["epoch"] for row in rows[name]], [row[key] for row in rows[name]]
            panel.plot(epochs, values, color=colour, marker="o", markersize=4, label=name)
            if f"{key}_se" in rows[name][0]:
                errors = [row[f"{key}_se"] for row in rows[name]]
                low, high = zip(*((v - e, v + e) for v, e in zip(values, errors, strict=True)), strict=True)
                panel.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel("epoch")
        panel.set_ylim(-0.03, 1.03)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", alpha=0.3)
    panels[0].legend(frameon=False, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--num-images", type=int, default=2048, help="for training; validation has a quarter of it")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
