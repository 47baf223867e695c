from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lightning_xai import CenterHeatmap, FakeCAM
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.functional import transform_consistency
from lightning_xai.metrics import TransformConsistency
from tests.metrics._harness import Batch, Entry, EvaluationCount, close, squares, tiny_net


def _at(channel, row, column):
    """Return the bilinear value at (row, column); what lies outside is mirrored at the outer edges of the pixels."""
    height, width = channel.shape

    def inside(place, length):
        place = abs(round(place, 9) + 0.5) % (2 * length)
        return min(max((2 * length - place if place > length else place) - 0.5, 0.0), length - 1.0)

    row, column = inside(row, height), inside(column, width)
    top, left = int(row), int(column)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = row - top, column - left
    return (1 - down) * ((1 - along) * channel[top, left] + along * channel[top, right]) + down * (
        (1 - along) * channel[below, left] + along * channel[below, right]
    )


def _resized(channel, size):
    """Return the bilinear resize: pixel centres correspond, edges are repeated."""
    ratio = [channel.shape[axis] / size[axis] for axis in (0, 1)]
    found = np.empty(size)
    for i, j in np.ndindex(*size):
        place = [(index + 0.5) * r - 0.5 for index, r in zip((i, j), ratio, strict=True)]
        found[i, j] = _at(channel, *(min(max(p, 0.0), n - 1.0) for p, n in zip(place, channel.shape, strict=True)))
    return found


def _transforms(size, rotation, crop, scale):
    """Return pairs of a function of one channel and the pixels where it is valid."""
    middle, everywhere = ((size[0] - 1) / 2, (size[1] - 1) / 2), np.ones(size, bool)
    angle = math.radians(rotation)

    def turned(i, j):
        y, x = i - middle[0], j - middle[1]
        return (
            y * math.cos(angle) + x * math.sin(angle) + middle[0],
            x * math.cos(angle) - y * math.sin(angle) + middle[1],
        )

    def sampled(source):
        return lambda channel: np.array([[_at(channel, *source(i, j)) for j in range(size[1])] for i in range(size[0])])

    valid = np.array(
        [
            [all(-0.5 <= p <= n - 0.5 for p, n in zip(turned(i, j), size, strict=True)) for j in range(size[1])]
            for i in range(size[0])
        ]
    )
    closer = sampled(lambda i, j: (middle[0] + crop * (i - middle[0]), middle[1] + crop * (j - middle[1])))
    smaller = tuple(round(scale * length) for length in size)
    return [
        (sampled(turned), valid),
        (lambda channel: channel[:, ::-1], everywhere),
        (closer, everywhere),
        (lambda channel: _resized(_resized(channel, smaller), size), everywhere),
    ]


def _reference(view, rotation=15.0, crop=0.9, scale=0.75):
    found = []
    for transform, valid in _transforms(view.heat.shape, rotation, crop, scale):
        image = np.stack([transform(channel) for channel in view.image]).astype(np.float32).astype(np.float64)
        if view.logits(image).argmax() != view.logits(view.image).argmax():
            continue
        after = squares(image, view.target)[valid].astype(np.float32)
        moved = transform(view.heat)[valid].astype(np.float32)
        if np.ptp(after) > 0 and np.ptp(moved) > 0:
            found.append(spearmanr(after, moved).statistic)
    return sum(found) / len(found) if found else math.nan


ENTRY = Entry(
    "transform_consistency",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=({"rotation": -40.0, "crop": 0.5, "scale": 0.4}, {"rotation": 0.0, "crop": 1.0, "scale": 1.0}),
)


class Indifferent(nn.Module):
    """Predict class 0 for every image."""

    def forward(self, images):
        return torch.tensor([1.0, 0.0]).expand(len(images), -1)


class Brightness(Explainer):
    """Explain by the first channel: follows any transform of the image."""

    evaluations = 0

    def explain(self, classifier, images, target):
        return images[:, 0]


def test_a_map_that_follows_the_image_is_consistent():
    images = torch.rand(3, 2, 12, 15)
    close(transform_consistency(Indifferent(), images, Brightness(), target=0), torch.ones(3))


def test_by_hand_only_the_flip_keeps_the_prediction():
    class KnowsTheFlip(nn.Module):
        def forward(self, images):
            same = [((images - known).abs().amax((1, 2, 3)) < 1e-6) for known in (image, image.flip(-1))]
            known = (same[0] | same[1]).float()
            return torch.stack([known, 1 - known], 1)

    class Fixed(Explainer):
        evaluations = 0

        def explain(self, classifier, images, target):
            return heatmap.expand(len(images), -1, -1)

    image, heatmap = torch.rand(1, 1, 1, 4), torch.tensor([[[1.0, 2.0, 3.0, 5.0]]])
    # 1 2 3 4 against 4 3 2 1
    assert transform_consistency(KnowsTheFlip(), image, Fixed(), target=0).item() == -1.0
    heatmap = torch.tensor([[[1.0, 3.0, 2.0, 5.0]]])
    # ranks 1 3 2 4 against 4 2 3 1: 1 - 6 (9 + 1 + 1 + 9) / (4 · 15)
    assert transform_consistency(KnowsTheFlip(), image, Fixed(), target=0).item() == pytest.approx(-1.0)
    heatmap = torch.tensor([[[3.0, 1.0, 0.0, 2.0]]])
    # ranks 4 2 1 3 against 3 1 2 4: 1 - 6 (1 + 1 + 1 + 1) / (4 · 15)
    assert transform_consistency(KnowsTheFlip(), image, Fixed(), target=0).item() == pytest.approx(0.6)


def test_undefined_where_no_transform_keeps_the_prediction_or_the_map_is_flat():
    class OnlyClean(nn.Module):
        def forward(self, images):
            known = (images == image).flatten(1).all(1).float()
            return torch.stack([known, 1 - known], 1)

    image = torch.rand(1, 1, 6, 6)
    metric = TransformConsistency()
    metric.update(model=OnlyClean(), images=image, explainer=Brightness(), target=0)
    flat = torch.full((1, 6, 6), 0.7)
    metric.update(model=Indifferent(), images=image, heatmaps=flat, explainer=Brightness(), target=0)
    assert metric.undefined == 2


def test_controls():
    images = torch.rand(2, 1, 16, 16)
    fake = transform_consistency(Indifferent(), images, FakeCAM(), target=0)
    assert ((fake > 0.3) & (fake < 0.6)).all()  # flip near 0, reduction near 1, the others undefined
    assert (transform_consistency(Indifferent(), images, CenterHeatmap(), target=0) > 0.99).all()


def test_cost():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    ENTRY.updated(batch, net)
    assert count.images == 3 * (4 + 1) == 3 * TransformConsistency().evaluations(explaining=0)
    assert TransformConsistency().evaluations(explaining=7) == 4 * 8 + 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"crop": 0.0}, r"Expected `crop` to be > 0\.0, but got 0\.0"),
        ({"scale": 1.5}, r"Expected `scale` to be a share, at most 1, but got 1\.5"),
        ({"rotation": -400.0}, r"Expected `rotation` to be >= -360\.0, but got -400\.0"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        TransformConsistency(**settings)
