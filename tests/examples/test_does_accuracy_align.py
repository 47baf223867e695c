import re

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.alignment import Alignment, Point

SETTINGS = ("--epochs", "4", "--num-images", "32", "--num-explained", "4", "--image-size", "32")


def test_every_network_and_score_is_told(example):
    printed = example("does_accuracy_align", *SETTINGS, "--seeds", "0", "--networks", "ResNet", "VGG", "ViT")
    from does_accuracy_align import NETWORKS, SCORES

    first, second = printed.strip().split("\n\n")
    rows = [line.strip("| ").split(" | ") for line in first.splitlines()[2:]]
    assert [tuple(row[:2]) for row in rows] == [(network, score) for network in NETWORKS for score in SCORES]
    cell = r"(–|-?\d\.\d\d \[-?\d\.\d\d, \d\.\d\d\])"
    assert all(re.fullmatch(rf"{cell} \| \*\*{cell}\*\*", " | ".join(row[2:])) for row in rows)
    assert [line.split(" | ")[0] for line in second.splitlines()[2:]] == [f"| {network}" for network in NETWORKS]


def test_cells_are_spearmans_and_means(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    from does_accuracy_align import SCORES, correlations, last_epochs

    def run(last):
        points = [
            Point(epoch, epoch, 0.1 * epoch, Estimate(value)) for epoch, value in enumerate((1.0, 3.0, 2.0, last))
        ]
        return {score: Alignment("val_accuracy", score, points) for score in SCORES}

    runs = [run(4.0), run(6.0)]
    (row,) = [row for row in correlations("ResNet", runs) if "| pointing_game |" in row]
    assert row.split(" | ")[2].startswith("0.80 [")
    *_, row = last_epochs({"ResNet": runs})
    assert row.startswith("| ResNet | 0.30 ± 0.00 | 5.00 ± 1.00 |")
