"""A process of a comparison, for tests: ``python -m tests.comparison._run FOLDER LEASE [seconds per image]``."""

import sys

import torch

from lightning_xai import Comparison
from tests.comparison._made import AsIs, Counted, Mirrored, Slow, TopLeft, marked_images

METRICS = ["average_drop", "insertion_auc", "pointing_game"]


def comparison(folder=None, metrics=METRICS, **arguments):
    explainers = {"slow": Slow(), "mirrored": Mirrored(), "as_is": AsIs()}
    models = {"m": Counted(), "n": torch.nn.Flatten()}
    return Comparison(
        models, {"d": marked_images()}, explainers, [*metrics, TopLeft()], output=folder, progress=False, **arguments
    )


if __name__ == "__main__":
    Slow.seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    table = comparison(sys.argv[1], lease=float(sys.argv[2])).run()
    print(table.to_csv(), flush=True)
