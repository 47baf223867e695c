"""What must hold whatever the numbers are."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import nn

from lightning_xai import FakeCAM, RandomHeatmap
from lightning_xai.evidence import Case, gaussian_blur
from lightning_xai.functional import aopc, deletion_auc, insertion_auc, insertion_deletion, pixel_flipping
from lightning_xai.metrics import InsertionDeletion, get_metric
from tests.metrics._harness import Batch, entry_of, tiny_net

RANKINGS = torch.tensor(list(permutations(range(4)))).float().view(24, 2, 2) + 1.0
ORDER_ONLY = [
    "aopc",
    "deletion_auc",
    "insertion_auc",
    "insertion_deletion",
    "pixel_flipping",
    "pointing_game",
    "relative_faithfulness",
    "relevance_rank_accuracy",
]
SCALE_FREE = [
    *ORDER_ONLY,
    "box_localization",
    "complexity",
    "heatmap_drift",
    "relevance_mass_accuracy",
    "sparseness",
]
PIXEL_ORDER_ONLY = [
    "deletion_auc",
    "insertion_auc",
    "insertion_deletion",
    "pixel_flipping",
    "relative_faithfulness",
    "relevance_rank_accuracy",
]


class Additive(nn.Module):
    """A binary model whose logit is a weighted sum of pixels."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        return (images * self.weights).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("baseline", [0.0, "blur", "minimum"])
def test_a_perfect_ranking_is_the_best_of_all_for_an_additive_model(seed, baseline):
    random = torch.Generator().manual_seed(seed)
    weights, image = torch.randn(2, 2, generator=random), torch.rand(1, 1, 2, 2, generator=random) + 0.5
    start = {0.0: torch.zeros_like(image), "blur": gaussian_blur(image), "minimum": image.min().expand_as(image)}
    contribution = (weights * (image - start[baseline]))[0, 0]
    perfect = contribution.flatten().argsort().argsort().view(2, 2).float() + 1.0
    best = (perfect == RANKINGS).flatten(1).all(1)
    assert best.sum() == 1
    images, model = image.expand(24, -1, -1, -1), Additive(weights)
    settings = {"target": 1, "num_steps": 4, "baseline": baseline}
    insertion = insertion_auc(model, images, RANKINGS, **settings)
    deletion = deletion_auc(model, images, RANKINGS, **settings)
    assert (insertion[best] >= insertion - 1e-6).all()
    assert (deletion[best] <= deletion + 1e-6).all()
    regions = aopc(model, images, RANKINGS, target=1, grid=(2, 2), baseline=baseline)
    assert (regions[best] >= regions - 1e-6).all()
    assert insertion.max() - insertion.min() > 1e-3


def test_a_perfect_ranking_of_another_class_is_the_worst():
    weights, image = torch.tensor([[0.5, -1.0], [2.0, 0.1]]), torch.ones(24, 1, 2, 2)
    scores = [insertion_deletion(Additive(weights), image, RANKINGS, target=label, num_steps=4) for label in (0, 1)]
    assert scores[0].argmax() == scores[1].argmin()


@pytest.mark.parametrize("alias", SCALE_FREE)
@pytest.mark.parametrize("scale", [2.0**-20, 0.37, 1e6])
def test_scaling_a_heatmap_changes_nothing(alias, scale):
    entry = entry_of(alias)
    batch, net = Batch.draw(5), tiny_net()
    levels = (batch.heatmaps * 8).round() / 8  # few levels, so that scaling neither makes nor breaks a tie
    value = entry.updated(batch.with_heatmaps(levels), net).rows
    scaled = entry.updated(batch.with_heatmaps(levels * scale), net).rows
    tolerance = 0.0 if alias in ORDER_ONLY else 1e-5
    torch.testing.assert_close(scaled, value, rtol=0, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("alias", PIXEL_ORDER_ONLY)
def test_any_increasing_function_of_the_heat_keeps_the_order(alias):
    entry = entry_of(alias)
    batch, net = Batch.draw(5), tiny_net()
    levels = (batch.heatmaps * 8).round() / 8
    value = entry.updated(batch.with_heatmaps(levels), net).rows
    moved = entry.updated(batch.with_heatmaps(levels.exp() - 7.0), net).rows
    torch.testing.assert_close(moved, value, rtol=0, atol=0, equal_nan=True)


@pytest.fixture(scope="module")
def all_orders():
    """One image of 2 × 2, and the insertion − deletion of each of its 24 rankings."""
    random = torch.Generator().manual_seed(3)
    model, image = Additive(2 * torch.randn(2, 2, generator=random)), torch.rand(1, 1, 2, 2, generator=random) + 0.5
    values = insertion_deletion(model, image.expand(24, -1, -1, -1), RANKINGS, target=1, num_steps=4)
    return model, image, values


@pytest.mark.parametrize("kind", ["random map", "constant map", "fake-cam"])
def test_maps_without_meaning_score_the_mean_over_all_orders(all_orders, kind):
    model, image, values = all_orders
    if kind == "fake-cam":  # its one cold pixel goes last
        values = values[RANKINGS[:, 0, 0] == 1.0]
    count, found = 200, []
    for seed in range(count):
        heatmap = RandomHeatmap(grid=None, seed=seed)(model, image, 1) if kind == "random map" else torch.ones(1, 2, 2)
        heatmap = FakeCAM()(model, image, 1) if kind == "fake-cam" else heatmap
        found.append(insertion_deletion(model, image, heatmap, target=1, num_steps=4, seed=seed))
    found = torch.cat(found)
    error = values.std(correction=0).item() / math.sqrt(count)
    assert abs(found.mean().item() - values.mean().item()) < 4 * error
    assert found.std().item() == pytest.approx(values.std().item(), rel=0.25)
    assert len(found.unique()) >= len(values.unique()) - 1  # every order occurs


class FlipInvariant(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = tiny_net()

    def forward(self, images):
        return self.net(images) + self.net(images.flip(3))


@pytest.mark.parametrize("function", [insertion_auc, deletion_auc, insertion_deletion, pixel_flipping])
def test_flipping_image_and_heatmap_together_changes_nothing(function):
    batch, net = Batch.draw(6), FlipInvariant()
    heatmaps = torch.randn_like(batch.heatmaps)  # no ties: these are broken by the image's content
    value = function(net, batch.images, heatmaps, batch.target)
    flipped = function(net, batch.images.flip(3), heatmaps.flip(2), batch.target)
    torch.testing.assert_close(flipped, value, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "alias", ["box_localization", "pointing_game", "relevance_mass_accuracy", "relevance_rank_accuracy"]
)
def test_localization_is_flip_equivariant(alias):
    batch, metrics = Batch.draw(8), [get_metric(alias), get_metric(alias)]
    metrics[0].update(heatmaps=batch.heatmaps, masks=batch.masks)
    metrics[1].update(heatmaps=batch.heatmaps.flip(1, 2), masks=batch.masks.flip(1, 2))
    torch.testing.assert_close(metrics[1].rows, metrics[0].rows, rtol=0, atol=1e-6, equal_nan=True)


def test_standard_error_of_the_random_control_is_its_true_spread():
    """Images of one kind, a model that weighs places: with noise shared by all images the error would be far off."""
    sets, size = 150, 24
    random = torch.Generator().manual_seed(0)
    weights = 0.6 * torch.randn(8, 8, generator=random)
    images = 1.0 + 0.3 * torch.randn(sets, size, 1, 8, 8, generator=random)
    model, metric = Additive(weights), InsertionDeletion(num_steps=8)
    means, errors = [], []
    for seed in range(sets):
        heatmaps = RandomHeatmap(seed=seed)(model, images[seed], 1)
        metric.reset()
        metric.update(case=Case(model, images[seed], 1, heatmaps=heatmaps))
        means.append(metric.compute())
        errors.append(metric.standard_error())
    spread, reported = torch.stack(means).std().item(), torch.stack(errors).square().mean().sqrt().item()
    # the spread of 150 means is known to 1 / √(2 · 149) = 5.8 %
    assert spread / reported == pytest.approx(1.0, abs=3 * 0.058)
    # and the test can tell: one map for all images of a set, as shared noise gives
    shared = []
    for seed in range(sets):
        heatmaps = RandomHeatmap(seed=seed)(model, images[seed], 1)[:1].expand(size, -1, -1)
        shared.append(insertion_deletion(model, images[seed], heatmaps, 1, num_steps=8).mean())
    assert torch.stack(shared).std().item() > 2.5 * reported


def test_paired_differences_of_explainer_and_control_have_no_shared_noise():
    # the control of an image does not depend on the other images of its batch
    batch, net = Batch.draw(6), tiny_net()
    whole = insertion_deletion(net, batch.images, RandomHeatmap()(net, batch.images, 0), 0)
    part = insertion_deletion(net, batch.images[2:4], RandomHeatmap()(net, batch.images[2:4], 0), 0)
    torch.testing.assert_close(part, whole[2:4], rtol=0, atol=1e-6)
