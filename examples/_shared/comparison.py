"""What examples have in common that compare explanations of several networks: training, a table, a picture."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import lightning as L
import torch
from PIL import Image
from rich import box
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_xai import ShapesDataset
from lightning_xai.visualization import heatmap_grid

from .classifier import ImageClassifier

Batch = dict[str, Tensor]


def fit_quietly(model: ImageClassifier, train: ShapesDataset, held_out: ShapesDataset, epochs: int) -> float:
    """Train on the CPU without a logger, and return the accuracy on ``held_out``; the model is left in eval mode."""
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True), DataLoader(held_out, batch_size=128))
    model.eval()
    return float(trainer.callback_metrics["val_accuracy"])


def comparison_table(names: Iterable[str], numbers: Iterable[str]) -> Table:
    """Return a table with columns of names and of numbers."""
    table = Table(title="Heatmaps of the right class", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in names:
        table.add_column(heading, vertical="bottom", no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    return table


def draw_one_of_each(batch: Batch, columns: Mapping[str, Tensor], classes: Sequence[str], path: Path) -> Path:
    """Draw the first image of each class with its heatmaps; return the picture's path."""
    rows = [int(torch.nonzero(batch["label"] == label)[0]) for label in range(len(classes))]
    grid = heatmap_grid(
        batch["image"][rows],
        {name: heatmaps[rows] for name, heatmaps in columns.items()},
        captions=list(classes),
        masks=batch["mask"][rows],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid.numpy()).save(path)
    return path
