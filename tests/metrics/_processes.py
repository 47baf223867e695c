"""Two real processes, started once, that update and compute every metric on uneven shares."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_xai.metrics import ExplanationMetric, MetricSuite
from tests.metrics._harness import CLASSES, Batch, entries, entry_of, tiny_net

COUNT = 7
SHARES = {"uneven": ([[0, 1], [2]], [[3, 4, 5, 6]]), "one_empty": ([[0, 1, 2, 3], [4, 5, 6]], [])}


def run(folder: Path, timeout: float = 300.0) -> dict[str, Any]:
    """Return what both ranks computed: {metric: {share: {...}}}; raise if a process fails or does not end."""
    processes = multiprocessing.spawn(_rank, args=(str(folder),), nprocs=2, join=False)
    end = time.monotonic() + timeout
    while not processes.join(timeout=1.0):  # raises with the traceback of a process that failed
        if time.monotonic() > end:
            for process in processes.processes:
                process.kill()
            raise TimeoutError(f"Expected two processes to finish within {timeout} s, but they did not.")
    ranks = [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]
    if repr(ranks[0]) != repr(ranks[1]):
        raise RuntimeError(f"Expected both ranks to compute the same, but got {ranks}.")
    return ranks[0]


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    init = f"file://{Path(folder) / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2, timeout=timedelta(seconds=240))
    batch, net = Batch.draw(COUNT), tiny_net()
    found: dict[str, Any] = {entry.alias: {} for entry in entries()}
    found["suite"] = {}
    for name, shares in SHARES.items():
        for entry in entries():
            metric = entry.metric()
            for rows in shares[rank]:
                metric.update(**entry.given(batch[rows], net))
            found[entry.alias][name] = _facts(metric)
        metrics = suite()
        for rows in shares[rank]:
            metrics.update(**suite_given(batch[rows], net))
        found["suite"][name] = {key: float(value) for key, value in metrics.compute().items()}
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _facts(metric: ExplanationMetric) -> dict[str, Any]:
    value = metric.compute()
    with metric.sync_context():
        return {
            "value": float(value),
            "undefined": metric.undefined,
            "error": float(metric.standard_error()),
            "per_class": {label: float(mean) for label, mean in metric.per_class().items()},
        }


SUITE = (
    "insertion_auc",
    "insertion_deletion",
    "aopc",
    "max_sensitivity",
    "avg_sensitivity",
    "heatmap_drift",
    "sparseness",
    "pointing_game",
    "box_localization",
)


def suite() -> MetricSuite:
    return MetricSuite([*SUITE, MulticlassAccuracy(CLASSES, average="micro")], prefix="val_")


def suite_given(batch: Batch, net: nn.Module) -> dict[str, Any]:
    given = {name: value for alias in SUITE for name, value in entry_of(alias).given(batch, net).items()}
    return {**given, "preds": batch.images[:, 0, 0, :CLASSES]}
