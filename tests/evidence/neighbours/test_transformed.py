from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lightning_xai.evidence import Case
from lightning_xai.evidence.neighbours.transformed import TRANSFORMS, Transformed
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics._harness import Batch, EvaluationCount, Squares, tiny_net

SIZES = [(7, 12), (16, 16), (1, 5), (2, 1)]


def _sampled(images, angle, stretch):
    """Return torch's own sampling at turned (and drawn together) places, mirrored outside."""
    height, width = images.shape[2:]
    y = (torch.arange(height).double() - (height - 1) / 2)[:, None]
    x = (torch.arange(width).double() - (width - 1) / 2)[None, :]
    rows = stretch * (math.cos(angle) * y + math.sin(angle) * x) * 2 / height
    columns = stretch * (math.cos(angle) * x - math.sin(angle) * y) * 2 / width
    grid = torch.stack([columns, rows], -1).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


@pytest.mark.parametrize("size", SIZES)
def test_equals_torch(size):
    images, spec = torch.rand(2, 3, *size, dtype=torch.float64), Transformed(rotation=30.0, crop=0.6, scale=0.4)
    smaller = [max(round(0.4 * length), 1) for length in size]
    there = F.interpolate(images, smaller, mode="bilinear", align_corners=False)
    expected = {
        "rotation": _sampled(images, math.radians(30), 1.0),
        "flip": images.flip(-1),
        "crop": _sampled(images, 0.0, 0.6),
        "scale": F.interpolate(there, size, mode="bilinear", align_corners=False),
    }
    assert tuple(expected) == TRANSFORMS
    for name in TRANSFORMS:
        torch.testing.assert_close(spec.apply(name, images), expected[name])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_flat_stays_flat_and_nothing_is_nothing(size, dtype):
    flat, spec = torch.full((1, 1, *size), 0.7, dtype=dtype), Transformed()
    for name in TRANSFORMS:
        assert spec.apply(name, flat).equal(flat)
    for same in ("crop", "scale", "rotation"):
        images = torch.rand(1, 2, *size).to(dtype)
        assert Transformed(rotation=0.0, crop=1.0, scale=1.0).apply(same, images).equal(images)


def test_valid_pixels_come_from_inside():
    device = torch.device("cpu")
    spec = Transformed(rotation=45.0)
    valid = spec.valid("rotation", (9, 9), device)
    assert not valid[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert valid[4].all()
    assert valid[:, 4].all()
    assert valid.equal(valid.flip(0, 1))
    assert all(spec.valid(name, (9, 9), device).all() for name in TRANSFORMS[1:])


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_maps_and_predictions_of_every_version(chunk_size):
    batch, net, spec = Batch.draw(3), tiny_net(), Transformed()
    count = EvaluationCount(net)
    case = Case(Classifier(net, Readout(chunk_size=chunk_size)), batch.images, batch.target, explainer=Squares())
    found = case[spec]
    assert count.images == 3 * spec.evaluations(explaining=0)
    assert count.largest <= chunk_size
    for k, name in enumerate(TRANSFORMS):
        versions = spec.apply(name, batch.images)
        torch.testing.assert_close(found.heatmaps[:, k], Squares()(net, versions, batch.target))
        predicted = Classifier(net).logits(versions).argmax(1)
        assert found.same_prediction[:, k].equal(predicted == case.logits.argmax(1))
