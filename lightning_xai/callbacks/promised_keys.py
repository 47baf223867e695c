"""The keys that monitors find whether or not there is a value: agreed among ranks once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_xai.callbacks.run_state import RunState
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.processes import Processes, of_all

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer


def agree(processes: Processes, run: RunState) -> None:
    """Agree on what each rank saw of the data in a part; every rank must call it.

    Which loaders have annotations, and so which keys there are, is settled once.
    """
    seen = {loader: sample.annotated for loader, sample in run.samples.items()}
    of_ranks = of_all(processes, (seen, run.labels_are_distributions, run.chunk_size))
    known = [labels for _, labels, _ in of_ranks if labels is not None]
    run.labels_are_distributions = all(known) if known else None
    run.chunk_size = max(chunk_size for *_, chunk_size in of_ranks)
    loaders = sorted({loader for annotated, *_ in of_ranks for loader in annotated})
    agreed = {loader: any(annotated.get(loader, False) for annotated, *_ in of_ranks) for loader in loaders}
    run.annotated_loaders = run.annotated_loaders or agreed


def promise_keys(keys: Keys, trainer: Trainer, module: LightningModule, run: RunState) -> None:
    """Let monitors find every key that has no value yet: its last good one in this run, else its worst.

    Loggers never see these; a value that is logged replaces them, and an error leaves the last one.
    """
    for loader, agreed in run.annotated_loaders.items():
        annotated = agreed or (loader in run.probes and run.probes[loader].annotated)
        for name, key in keys.of_loader(run.index_in_keys(loader), annotated=annotated).items():
            run.last_values.setdefault(name, key.worst)
    for name, value in run.last_values.items():
        trainer.callback_metrics.setdefault(name, torch.tensor(value, device=module.device))
