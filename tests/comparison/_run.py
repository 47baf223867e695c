"""A process of a comparison, for tests, that waits for a file: ``python -m tests.comparison._run FOLDER FILE``."""

import sys

import torch

from lightning_xai import Comparison
from tests.comparison._made import AsIs, Counted, Mirrored, Slow, TopLeft, many_images, marked_images

METRICS = ["average_drop", "insertion_auc", "pointing_game"]


def comparison(folder=None, metrics=METRICS, **arguments):
    explainers = {"slow": Slow(), "mirrored": Mirrored(), "as_is": AsIs()}
    models = {"m": Counted(), "n": torch.nn.Flatten()}
    return Comparison(
        models, {"d": marked_images()}, explainers, [*metrics, TopLeft()], output=folder, progress=False, **arguments
    )


def heavy(folder=None, metrics=METRICS, explainer=None, **arguments):
    """A comparison of one explainer, in one setting of five batches."""
    return Comparison(
        Counted(),
        {"d": many_images()},
        {"slow": explainer or Slow()},
        [*metrics, TopLeft()],
        output=folder,
        progress=False,
        **arguments,
    )


if __name__ == "__main__":
    Slow.until = sys.argv[2]
    print(heavy(sys.argv[1], split=1).run().to_csv(), flush=True)
