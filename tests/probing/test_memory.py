"""What explaining needs beside the probe and its heatmaps does not grow with the number of images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.live_bytes import peak_bytes
from lightning_xai import Classifier
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.sample import Sample

SIDE = 48
MAP = SIDE * SIDE * 4
ROWS = 1024  # logits, values per metric, keys, boxes: per image
CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()


def explaining(count, explainers="grad_cam", metrics=None, chunk_size=8):
    """Return what the monitor does with a probe, all that is made once per process already made."""
    generator = torch.Generator().manual_seed(1)
    sample = Sample(
        torch.rand(count, 3, SIDE, SIDE, generator=generator),
        torch.arange(count) % 3,
        masks=torch.arange(SIDE * SIDE).view(SIDE, SIDE).expand(count, -1, -1) % 7 == 0,
    )
    plan, net = Plan(explainers, metrics), network()

    def work():
        return plan.answers(Classifier(net, chunk_size=chunk_size), sample, sample.labels)

    return work


def peaks(counts, *args, **kwargs):
    explaining(1, *args, **kwargs)()  # the layer is searched for once
    return [peak_bytes(explaining(count, *args, **kwargs), CPU) for count in counts]


@pytest.mark.parametrize(("counts", "chunk_size"), [((8, 64), 8), ((8, 24), 1)])
def test_the_default_suite_needs_as_much_for_any_probe(counts, chunk_size):
    few, *more = peaks(counts, chunk_size=chunk_size)
    assert few > 100 * MAP  # it is measured at all
    for found, count in zip(more, counts[1:], strict=True):
        assert 0 <= found - few <= (count - 8) * (MAP + ROWS)


@pytest.mark.parametrize(
    ("explainers", "metrics", "num_maps"),
    [
        (["grad_cam", "saliency", "random_heatmap"], ["explainer_agreement", "insertion_deletion"], 3),
        ("occlusion", ["road", "aopc", "mst_compactness"], 1),
        ("layer_cam", ["transform_consistency", "relative_representation_stability", "contrastivity"], 1),
        ("input_x_gradient", ["parameter_randomization", "infidelity", "sufficiency", "localization_auc"], 1),
    ],
)
def test_other_explainers_and_metrics(explainers, metrics, num_maps):
    few, more = peaks((8, 16), explainers, metrics)
    assert 0 <= more - few <= 8 * (num_maps * MAP + ROWS)


def test_what_grows_is_seen():
    """The same probe as one part: blurred images and what sorting needs would be seen."""
    (parts,) = peaks((32,), metrics="insertion_auc")
    (whole,) = peaks((32,), metrics="insertion_auc", chunk_size=32)
    assert whole - parts > 24 * 3 * MAP
