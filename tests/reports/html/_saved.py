"""A run of three epochs, made by hand."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_xai.metrics import InsertionDeletion, PointingGame
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.reports.saved_run import SavedRun

COUNT = 4
EXPLAINERS = ("grad_cam", "saliency")
GAINS = torch.tensor([[0.0, 0.0, 0.02, -0.02], [0.1, 0.2, 0.2, 0.1], [0.3, 0.4, 0.5, 0.4]])
"""Of each image in each epoch: how much faithfulness exceeds the control's."""


def epoch(number, *, loaders=1, explainers=EXPLAINERS, gains=None):
    gains = GAINS[number] if gains is None else gains
    noise = torch.Generator().manual_seed(number)
    control = torch.full((COUNT,), 0.125)
    rows = {"faithfulness": gains + control, "pointing_game": torch.tensor([1.0, 0.0, 1.0, float("nan")])}
    found = Explained(
        keys=torch.arange(COUNT) + 100,
        labels=torch.tensor([0, 1, 1, -1]),
        target=torch.tensor([0, 1, 1, 0]),
        predicted=torch.tensor([0, 1, 0, 0]),
        probabilities=torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]),
        rows=dict.fromkeys(explainers, rows),
        control_rows={"faithfulness": control},
        metrics={"faithfulness": InsertionDeletion(), "pointing_game": PointingGame()},
        heatmaps={name: torch.rand(COUNT, 8, 8, generator=noise).half() for name in explainers},
        ids=["a<b", "scan 7", "scan 8", "scan 9"],
        groups=["north", "north", "south", "south"],
        peaks={name: torch.full((COUNT,), 2.0 + number) for name in explainers},
    )
    estimates = {"xai/probe_accuracy": Estimate(0.5 + 0.1 * number)}
    return ExplainedEpoch(
        number, 10 * number, "fit", estimates, dict.fromkeys(range(loaders), found), seconds=2.0, evaluations=100
    )


def saved(folder, *, epochs=3, logged="val_acc", side=16, **settings):
    pictures = {100 + image: torch.full((side, side, 3), 40 * image, dtype=torch.uint8) for image in range(COUNT)}
    made = [epoch(number, **settings) for number in range(epochs)]
    values = {(one.epoch, one.step): {logged: 0.4 + 0.2 * one.epoch} if logged else {} for one in made}
    return SavedRun(
        folder,
        made,
        values,
        dict.fromkeys(made[-1].loaders, pictures) if made else {},
        {0: ["cat & mouse", "dog"]},
        {name: f"{name}()" for name in EXPLAINERS},
        settings={"target": "label", "num_images": COUNT, "seed": 0},
        versions={"torch": "2.0"},
    )


def private(run):
    """The same without pictures, heatmaps and ids."""
    epochs = [
        replace(one, loaders={i: replace(found.numbers_only(), ids=None) for i, found in one.loaders.items()})
        for one in run.epochs
    ]
    return replace(run, epochs=epochs, pictures={})
