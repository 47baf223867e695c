"""Parts of studies by hand: images whose brightness is their class, small networks, a declaration, made tables."""

import os
import time
from pathlib import Path

import torch
from torch import nn

from lightning_xai import Explainer
from lightning_xai.comparison import Cell, CellHeatmaps, CellValues, ComparisonTable, ImageFacts, Records, Setting
from lightning_xai.explainers import get_explainer
from lightning_xai.metrics import get_metric
from lightning_xai.studies import Findings, Network

CALLS = []


class Bright(torch.utils.data.Dataset):
    """Images of 8×8 pixels with noise, brighter in class 1 than in class 0; every fourth is of class 1."""

    def __init__(self, num_images=64, seed=0):
        drawn = torch.Generator().manual_seed(seed)
        self.labels = (torch.arange(num_images) % 4 == 3).long()
        self.images = torch.rand(num_images, 1, 8, 8, generator=drawn) + self.labels[:, None, None, None]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": self.labels[index]}


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))


def dropout_network():
    return nn.Sequential(nn.Dropout(0.5), *network())


def augmented():
    """Return what makes a batch of images brighter."""
    return lambda images: images + 0.5


class Waiting(Explainer):
    """The first channel; where the environment names a file, it says that it explains, and waits for that."""

    evaluations = 0

    def explain(self, classifier, images, target):
        awaited = os.environ.get("AWAITED")
        if awaited:
            print("explaining", flush=True)
        while awaited and not Path(awaited).exists():
            time.sleep(0.02)
        return images[:, 0]


def counted_analysis(context, factor):
    """Note that it was called."""
    CALLS.append(factor)
    return Records(("factor", "missing"), ((factor * len(context.parts), None),), "Numbers")


def data(num_images, seed=0):
    return {"class_path": "tests.studies._made.Bright", "init_args": {"num_images": num_images, "seed": seed}}


DECLARED = """
title: A tiny paper
source: Nobody, 2026
summary: Two networks on bright images.
recipes:
  conv:
    network: {class_path: tests.studies._made.network}
    train: {class_path: tests.studies._made.Bright}
    test: {class_path: tests.studies._made.Bright, init_args: {seed: 1}}
    epochs: [1, 2]
    batch_size: 16
parts:
  main:
    recipes: [conv]
    data: {bright: {class_path: tests.studies._made.Bright, init_args: {num_images: 6, seed: 1}}}
    explainers: {grad_cam: grad_cam, hires_cam: hires_cam}
    metrics: {sparseness: sparseness, drop: average_drop}
analyses:
  count: {function: tests.studies._made.counted_analysis, arguments: {factor: 3}, title: Counted}
tables:
  table_1: {title: Sparseness, part: main, rows: [model, explainer], columns: [metric]}
figures:
  figure_1: {title: Means, part: main, kind: means}
claims:
  C1:
    says: Grad-CAM is sparser
    lines: "12"
    predicate: exceeds
    arguments: {part: main, metric: sparseness, explainer: grad_cam, than: fake_cam}
open_settings: [The size of the images]
faults: [A row is copied]
scales:
  small: {}
  medium: {like: small, parts: {main: {seeds: 2}}}
  paper: {parts: {main: {data: {bright: null, theirs: "${data}/val"}}}}
"""


def written_study(folder, text=DECLARED):
    """Write a study into a folder of its own, and return that."""
    made = folder / "tiny"
    made.mkdir()
    (made / "study.yaml").write_text(text)
    (made / "printed.csv").write_text(
        "table,row,column,value,line,note\ntable_1,conv-e1 · grad_cam,sparseness,0.5,7,A slip\n"
    )
    return made


def made_table(values, models=("m",), metric="sparseness"):
    """Return a table of (model, explainer) -> values per image, of a metric whose values are better when higher."""
    cells = {Cell(Setting(model, "d", "none", "label"), name): rows for (model, name), rows in values.items()}
    heatmaps, found = {}, {}
    for place, (cell, rows) in enumerate(cells.items()):
        rows = torch.tensor(rows)
        count = len(rows)
        zeros = torch.zeros(count, dtype=torch.int64)
        facts = ImageFacts(zeros, (None,) * count, zeros, zeros, zeros, torch.ones(count))
        found[cell, metric] = CellValues(rows, facts, evaluations=10 * count * place)
        signature = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(place))
        heatmaps[cell] = CellHeatmaps([], signature, evaluations=count * (place + 1))
    explainers = {cell.explainer: get_explainer("grad_cam") for cell in cells}
    return ComparisonTable(found, heatmaps, {metric: get_metric(metric)}, explainers, controls=())


def made_findings(values, scores=None, metric="sparseness"):
    """Return findings of one part; models ``a-s0``, ``a-s1`` are trainings of ``a``."""
    table = made_table(values, metric=metric)
    networks = {
        one.model: Network(one.model, one.model.partition("-s")[0], 0, (scores or {}).get(one.model, {}))
        for one in table.settings
    }
    return Findings({"p": table}, networks)
