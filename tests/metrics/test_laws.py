"""What must hold whatever the numbers are."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import nn

from lightning_xai import FakeCAM, RandomHeatmap
from lightning_xai._segments import superpixels
from lightning_xai.evidence import Case, MaskingCurve, SuperpixelCurve, gaussian_blur
from lightning_xai.explainers import Explainer
from lightning_xai.functional import (
    abpc,
    aopc,
    deletion_auc,
    insertion_auc,
    insertion_deletion,
    irof,
    pixel_flipping,
    selectivity,
)
from lightning_xai.metrics import (
    Completeness,
    ExplanationMetric,
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Infidelity,
    InsertionDeletion,
    SensitivityN,
)
from tests.metrics._harness import Batch, close, tiny_net

RANKINGS = torch.tensor(list(permutations(range(4)))).float().view(24, 2, 2) + 1.0


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
    given = (Additive(weights), image.expand(24, -1, -1, -1), RANKINGS)
    by_pixel, by_region = {"num_steps": 4}, {"grid": (2, 2)}
    for function, better, settings in [
        (insertion_auc, 1, by_pixel),
        (deletion_auc, -1, by_pixel),
        (pixel_flipping, -1, by_pixel),
        (aopc, 1, by_region),
        (abpc, 1, by_region),
        (selectivity, -1, by_region),
    ]:
        value = better * function(*given, target=1, baseline=baseline, **settings)
        assert (value[best] >= value - 1e-6).all(), function.__name__
        assert value.max() - value.min() > 1e-3, function.__name__


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_ranking_of_superpixels_is_the_best_of_all(seed):
    random = torch.Generator().manual_seed(seed)
    tones = torch.tensor([[0.0, 0.35], [0.65, 1.0]])
    image = _enlarged(tones)[None, None] + 0.1
    labels, count = superpixels(image[0])
    assert count == 4
    assert all(len(labels[_enlarged(tones) == tone].unique()) == 1 for tone in tones.flatten())  # the quarters
    weights = torch.randn(16, 16, generator=random) / 8
    gone = (weights * (image[0, 0] - image.mean())).view(2, 8, 2, 8).sum((1, 3))
    perfect = gone.flatten().argsort().argsort().view(2, 2) + 1.0
    best = (perfect == RANKINGS).flatten(1).all(1)
    case = Case(Additive(weights), image.expand(24, -1, -1, -1), 1, heatmaps=_enlarged(RANKINGS))
    curves = case[SuperpixelCurve()]
    assert curves.shape == (24, 5)
    assert (curves[best] <= curves + 1e-6).all()  # at every point
    assert (curves.amax(0) - curves.amin(0))[1:-1].min() > 1e-3
    value = irof(case.classifier, case.images, case.heatmaps, 1)
    assert (value[best] >= value - 1e-6).all()
    assert value.max() - value.min() > 1e-3


def _enlarged(quarters):
    return quarters.repeat_interleave(8, -1).repeat_interleave(8, -2)


class Linear(nn.Module):
    """A binary model whose logit, or whose probability, is a weighted sum of pixels."""

    def __init__(self, weights, of):
        super().__init__()
        self.weights, self.of = nn.Parameter(weights), of

    def forward(self, images):
        score = (images * self.weights).flatten(1).sum(1, keepdim=True)
        return score if self.of == "logit" else torch.logit(score.double()).float()


class Exact(Explainer):
    """What each pixel of a linear model adds to its score, against a baseline."""

    evaluations, completeness = 0, True

    def __init__(self, baseline=0.0):
        self.baseline = baseline

    def explain(self, classifier, images, target):
        start = images.amin((1, 2, 3), keepdim=True) if self.baseline == "minimum" else self.baseline
        sign = 2.0 * target[:, None, None] - 1.0  # class 0 of a single-logit model has the negated logit
        return sign * (classifier.model.weights * (images - start))[:, 0]


def linear_case(of, baseline=0.0, seed=0):
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 1, 8, 8, generator=random) + 0.2
    if of == "probability":  # inside (0, 1) whatever is removed
        weights = torch.rand(8, 8, generator=random) / 100
        return Case(Linear(weights, of), images, 1, explainer=Exact(baseline))
    target = torch.tensor([0, 1, 1, 0])
    return Case(Linear(torch.randn(8, 8, generator=random), of), images, target, explainer=Exact(baseline))


@pytest.mark.parametrize(
    ("metric", "of", "baseline"),
    [
        (SensitivityN((1, 2, 4, 8), grid=(8, 8)), "logit", 0.0),
        (SensitivityN((1, 2, 4), grid=(4, 4), baseline="minimum"), "logit", "minimum"),
        (FaithfulnessCorrelation(grid=(8, 8)), "probability", 0.0),
        (FaithfulnessCorrelation(grid=(4, 2), share=0.4, baseline="minimum"), "probability", "minimum"),
        (FaithfulnessEstimate(), "probability", "minimum"),
        (FaithfulnessEstimate(num_chunks=9, baseline=0.0), "probability", 0.0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ExplanationMetric) else str(value),
)
def test_exact_attributions_of_a_linear_model_correlate_perfectly(metric, of, baseline):
    # with drops of the probability, a model is linear only if its probability is
    case = linear_case(of, baseline)
    close(metric.score(case), torch.ones(4), 1e-4)
    close(metric.score(case.with_heatmaps(5.0 * case.heatmaps)), torch.ones(4), 1e-4)
    # Ranked in the opposite order, sets of the estimate are other sets; each is still as wrong as can be.
    close(metric.score(case.with_heatmaps(-case.heatmaps)), -torch.ones(4), 1e-4)
    other = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(9))
    assert (metric.score(case.with_heatmaps(other)) < 0.99).all()


@pytest.mark.parametrize("perturbation", ["square", "gaussian"])
def test_the_gradient_of_a_linear_model_has_no_infidelity(perturbation):
    case = linear_case("logit")
    sign = 2.0 * case.target[:, None, None] - 1.0
    gradient = sign * case.classifier.model.weights.detach()
    metric = Infidelity(perturbation)
    drops = metric.score(case.with_heatmaps(torch.rand(4, 8, 8)))
    assert (metric.score(case.with_heatmaps(gradient)) < 1e-9 * drops).all()
    assert (metric.score(case.with_heatmaps(1.1 * gradient)) > 1e-5 * drops).all()


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_exact_attributions_of_a_linear_model_are_complete(baseline):
    case = linear_case("logit", baseline)
    close(Completeness(baseline).score(case), torch.zeros(4), 1e-5)
    doubled = case.with_heatmaps(2.0 * case.heatmaps, Exact(baseline))
    close(Completeness(baseline).score(doubled), torch.ones(4), 1e-5)


def test_a_perfect_ranking_of_another_class_is_the_worst():
    weights, image = torch.tensor([[0.5, -1.0], [2.0, 0.1]]), torch.ones(24, 1, 2, 2)
    scores = [insertion_deletion(Additive(weights), image, RANKINGS, target=label, num_steps=4) for label in (0, 1)]
    assert scores[0].argmax() == scores[1].argmin()


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


@pytest.mark.parametrize(
    "curve",
    [
        MaskingCurve("deletion", num_steps=4),
        MaskingCurve("insertion", "blur", num_steps=4),
        MaskingCurve("deletion", "mean", num_steps=4, grid=(2, 2), order="lerf"),
    ],
    ids=str,
)
def test_curves_of_random_maps_tend_to_the_mean_over_all_orders(all_orders, curve):
    model, image, _ = all_orders
    exact = Case(model, image.expand(24, -1, -1, -1), 1, heatmaps=RANKINGS)[curve]
    count = 400
    maps = torch.cat([RandomHeatmap(grid=None, seed=seed)(model, image, 1) for seed in range(count)])
    found = Case(model, image.expand(count, -1, -1, -1), 1, heatmaps=maps)[curve]
    spread = exact.std(0, correction=0)
    assert ((found.mean(0) - exact.mean(0)).abs() <= 4 * spread / math.sqrt(count) + 1e-6).all()
    assert (spread[1:-1] > 0.01).all()  # where the order counts
    close(found[:, [0, -1]], exact[:1, [0, -1]].expand(count, -1))  # where it does not


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
