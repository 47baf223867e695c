"""Fewer lines that are not about the example."""

import logging
import warnings

_NOT_OURS = (
    "The '.*_dataloader' does not have many workers",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",
)


def quiet_lightning() -> None:
    """Silence Lightning's notes about hardware, workers and its own dependencies; real warnings stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in _NOT_OURS:
        warnings.filterwarnings("ignore", message=f".*{message}")
