"""Does accuracy align with explanation quality? Nine trainings, and what `AccuracyAlignment` says of them together.

    python examples/does_accuracy_align.py              # about nine minutes of one core
    python examples/does_accuracy_align.py --seeds 0    # a third of it

Three kinds of network (residual, VGG-like with a flattened classifier, vision transformer) learn the same shapes with
three seeds each; every epoch is explained. For each network and score: Spearman's correlation with the validation
accuracy over the epochs, with the interval that knows that neighbouring epochs resemble each other, per seed and for
the seeds together; then what the last epoch is worth. Both tables are printed as Markdown, and stand with what they say
in ``docs/does_accuracy_align.md``.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import lightning as L
import torch
from _shared.classifier import ImageClassifier, small_resnet
from _shared.convolutions_then_flat import small_vgg
from _shared.quiet import quiet_lightning
from torch import nn
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, ShapesDataset
from lightning_xai.probing.decisions.alignment import Alignment, RankCorrelation
from lightning_xai.probing.decisions.pooled_correlation import pooled_correlation
from lightning_xai.reports import AccuracyAlignment, History
from lightning_xai.reports.report import Run
from lightning_xai.studies.networks import SmallViT

NUM_CLASSES = 4
NETWORKS = ("ResNet", "VGG", "ViT")
EXPLAINERS = {"ViT": "transformer_attribution"}  # Grad-CAM for the others
LEARNING_RATES = {"ResNet": 1e-3, "VGG": 1e-3, "ViT": 2e-3}
METRICS = ("insertion_deletion", "faithfulness_skill", "pointing_game", "relevance_mass_accuracy", "max_sensitivity")
SCORES = (
    "faithfulness",
    "faithfulness_gain",
    "faithfulness_skill",
    "pointing_game",
    "relevance_mass_accuracy",
    "max_sensitivity",
)


@dataclass(frozen=True)
class Collected(AccuracyAlignment):
    """Keep what the report would draw and print."""

    found: list[Alignment] = field(default_factory=list)

    def end_fit(self, run: Run) -> None:
        """Keep accuracy and each score over the epochs."""
        self.found.extend(self.alignments(run))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train once per network and seed, and print the tables."""
    settings = parse(arguments)
    quiet_lightning()
    found = {}
    print("\n".join(heading(settings.seeds)))
    for network in settings.networks:
        found[network] = [aligned(network, seed, settings) for seed in settings.seeds]
        print("\n".join(correlations(network, found[network])), flush=True)
    print("\n" + "\n".join(last_epochs(found)))


def aligned(network: str, seed: int, settings: argparse.Namespace) -> dict[str, Alignment]:
    """Train one network; return accuracy and each score over the epochs."""
    L.seed_everything(seed, verbose=False)
    train = ShapesDataset(settings.num_images, settings.image_size, NUM_CLASSES, difficulty="easy", seed=10 + seed)
    validation = ShapesDataset(256, settings.image_size, NUM_CLASSES, difficulty="easy", seed=100 + seed)
    collected = Collected(monitor="val_accuracy", scores=SCORES)
    monitor = ExplanationMonitor(
        EXPLAINERS.get(network, "grad_cam"), METRICS, settings.num_explained, reports=[History(), collected]
    )
    folder = settings.output / "does_accuracy_align" / f"{network}_{seed}"
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        callbacks=[monitor],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(
        ImageClassifier(NUM_CLASSES, LEARNING_RATES[network], network_named(network, settings.image_size)),
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(validation, batch_size=128),
    )
    return {one.score.removeprefix("xai/"): one for one in collected.found}


def network_named(name: str, image_size: int) -> nn.Module:
    if name == "ResNet":
        return small_resnet(NUM_CLASSES)
    return small_vgg(NUM_CLASSES, image_size) if name == "VGG" else SmallViT(NUM_CLASSES, image_size=image_size)


def heading(seeds: Sequence[int]) -> Iterator[str]:
    """Yield the head of the table of correlations."""
    yield "| network | score | " + " | ".join(f"seed {seed}" for seed in seeds) + " | together |"
    yield "|---|---|" + "---|" * (len(seeds) + 1)


def correlations(network: str, runs: Sequence[dict[str, Alignment]]) -> Iterator[str]:
    """Yield the rows of a network: per seed, and of the seeds together."""
    for score in SCORES:
        of_seeds = [run[score].correlation() for run in runs]
        together = pooled_correlation([one for one in of_seeds if one is not None])
        yield f"| {network} | {score} | {' | '.join(map(_cell, of_seeds))} | **{_cell(together)}** |"


def _cell(correlation: RankCorrelation | None) -> str:
    return "–" if correlation is None else str(correlation)


def last_epochs(found: dict[str, list[dict[str, Alignment]]]) -> Iterator[str]:
    """Yield the lines of the table of last epochs: mean over the seeds, and its standard error."""
    yield "| network | accuracy | " + " | ".join(SCORES) + " |"
    yield "|---|---|" + "---|" * len(SCORES)
    for network, runs in found.items():
        last = [{score: run[score].points[-1] for score in SCORES if run[score].points} for run in runs]
        accuracy = _mean([points["faithfulness"].accuracy for points in last])
        cells = (_mean([points[score].score.value for points in last if score in points]) for score in SCORES)
        yield f"| {network} | {accuracy} | {' | '.join(cells)} |"


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "–"
    if len(values) < 2:
        return f"{mean(values):.2f}"
    error = float(torch.tensor(values, dtype=torch.float64).std()) / math.sqrt(len(values))
    return f"{mean(values):.2f} ± {error:.2f}"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--num-images", type=int, default=2048, help="for training; 256 others are for validation")
    parser.add_argument("--image-size", type=int, default=40, help="in pixels")
    parser.add_argument("--num-explained", type=int, default=24, help="images in the probe")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
