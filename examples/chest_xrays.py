"""Lesion or marker? Several findings per image, and a letter in a corner that gives one of them away.

    python examples/chest_xrays.py              # about two minutes of one core
    tensorboard --logdir runs/chest_xrays

Two networks learn to find five findings in images that look like chest X-rays. Some images carry a letter of lead in a
corner: in the run *plain* it says nothing, in the run *planted* it goes with effusion (correlation 0.95). One monitor
explains each image by a finding of its own, a second one asks all images about effusion. Measured with the defaults:

                                                 plain        planted
    AUROC, effusion                              1.000          1.000
    … where the marker says nothing              1.000          0.941
    faithfulness_gain                    0.209 ± 0.043  0.281 ± 0.040
    pointing_game                        0.450 ± 0.114  0.350 ± 0.109
    heat on the effusion                 0.210 ± 0.004  0.134 ± 0.004
    heat on the marker                   0.001 ± 0.000  0.050 ± 0.001
    reliance on the effusion             0.815 ± 0.014  0.457 ± 0.018
    reliance on the marker               0.002 ± 0.001  0.383 ± 0.015

Accuracy and faithfulness do not tell; a twentieth of the heat lies on the marker, and almost half of the decision hangs
on it. See ``docs/lesion_or_marker.md``.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
from _shared.findings_classifier import FindingsClassifier
from _shared.quiet import quiet_lightning
from _shared.run_folder import print_facts, save_grids
from lightning.pytorch.loggers import TensorBoardLogger
from rich import box, get_console
from rich.table import Table
from torch.utils.data import DataLoader

from lightning_xai import (
    ChestXraysDataset,
    Estimate,
    ExplanationMonitor,
    NuisanceMass,
    Readout,
    Reliance,
)
from lightning_xai.metrics.estimate import standard_error
from lightning_xai.reports import AccuracyAlignment, Grid, History, Scalars

MARKER = {"plain": 0.0, "planted": 0.95}  # correlation of the letter with effusion
FINDING = "effusion"
MULTILABEL = Readout(task="multilabel")
METRICS = ("insertion_deletion", "faithfulness_skill", "pointing_game")
# What is hidden becomes the image's mean: the blur of a large even shadow is that shadow again.
ABOUT_EFFUSION = (Reliance(FINDING, baseline="mean"), Reliance("marker", baseline="mean"), NuisanceMass("marker"))
Cells = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both and print what tells them apart."""
    settings = parse(arguments)
    quiet_lightning()
    folder = settings.output / "chest_xrays"
    cells = {name: run(name, marker, settings) for name, marker in MARKER.items()}
    table = Table(title="Lesion or marker?", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in cells:
        table.add_column(name, justify="right", no_wrap=True)
    for quantity in cells["plain"]:
        table.add_row(quantity, *(of_run[quantity] for of_run in cells.values()))
    get_console().print(table)
    print_facts({"heatmaps": f"{folder / '{plain,planted}' / 'heatmaps'}", "curves": f"tensorboard --logdir {folder}"})


def run(name: str, marker: float, settings: argparse.Namespace) -> Cells:
    """Train one network; return what is known about it at the end."""
    L.seed_everything(settings.seed, verbose=False)
    train = ChestXraysDataset(settings.num_images, marker=marker, seed=1)
    validation, uninformative = (ChestXraysDataset(settings.num_images // 4, marker=m, seed=2) for m in (marker, 0.0))
    own, effusion = monitors(train.classes, settings.num_explained, len(validation))
    model = FindingsClassifier(train.classes)
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(settings.output, name="chest_xrays", version=name),
        log_every_n_steps=8,
        callbacks=[own, effusion],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True), DataLoader(validation, batch_size=128))
    save_grids(Path(trainer.logger.log_dir))
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    blind = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (without,) = blind.validate(model, DataLoader(uninformative, batch_size=128), verbose=False)
    return told(logged, without, own, effusion)


def monitors(
    classes: Sequence[str], num_explained: int, num_asked: int
) -> tuple[ExplanationMonitor, ExplanationMonitor]:
    """Return a monitor that explains some images by a finding of their own, and one that asks all about effusion."""
    own = ExplanationMonitor(
        metrics=METRICS,
        num_images=num_explained,
        readout=MULTILABEL,
        reports=[
            Scalars(),
            History(),
            Grid(num_images=6, class_names=classes),
            AccuracyAlignment(monitor="val_auroc", table=False),
        ],
    )
    effusion = ExplanationMonitor(
        metrics=ABOUT_EFFUSION,
        num_images=num_asked,
        target=list(classes).index(FINDING),
        readout=MULTILABEL,
        reports=[Scalars(), History()],
        prefix=FINDING,
    )
    return own, effusion


def told(
    logged: Mapping[str, float], without: Mapping[str, float], own: ExplanationMonitor, effusion: ExplanationMonitor
) -> Cells:
    """Return the table's column of a run."""
    cells = {"AUROC, mean of findings": f"{logged['val_auroc']:.3f}"}
    cells["AUROC, effusion"] = f"{logged[f'val_auroc_{FINDING}']:.3f}"
    cells["… where the marker says nothing"] = f"{without[f'val_auroc_{FINDING}']:.3f}"
    for metric in ("faithfulness_gain", "faithfulness_skill", "pointing_game"):
        cells[metric] = str(own.latest.estimates[f"xai/{metric}"])
    cells |= {f"heat on the {region}": str(of_effusion(effusion, region, "heat")) for region in (FINDING, "marker")}
    cells["… over the marker's share of the image"] = str(of_effusion(effusion, "marker", "heat over area"))
    return cells | {f"reliance on the {r}": str(of_effusion(effusion, r, "reliance")) for r in (FINDING, "marker")}


def of_effusion(monitor: ExplanationMonitor, region: str, quantity: str) -> Estimate:
    """Return a mean over the images that have an effusion, and the region: only there is something to rely on."""
    has_effusion = ~monitor.latest.scores(f"reliance/{FINDING}").rows[:, 0].isnan()
    if quantity == "heat over area":
        values = monitor.latest.scores("nuisance_mass").rows
    else:
        values = monitor.latest.scores(f"reliance/{region}").rows[:, ("reliance", "heat").index(quantity)]
    values = values[has_effusion & (values >= (0 if quantity == "heat" else -1))]  # a share of no heat is -1
    return Estimate(float(values.mean()), float(standard_error(values)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--num-images", type=int, default=1536, help="for training; validation has a quarter of it")
    parser.add_argument(
        "--num-explained", type=int, default=24, help="images of the probe; four times as many of effusion"
    )
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
