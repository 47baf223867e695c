"""Curves that are evaluated where they change most."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_xai import DeletionAUC, InsertionAUC, InsertionDeletion, PixelFlipping, SufficientPixels
from lightning_xai.evidence import Case, MaskingCurve
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.evidence.masking.refinement import COARSEST, FINEST, error_bound, refined
from lightning_xai.functional import deletion_auc, insertion_auc, insertion_deletion
from lightning_xai.model.classifier import Classifier
from tests._nets import images_through

GRID = torch.linspace(0, 1, FINEST + 1, dtype=torch.float64).float()
STEP = (GRID < 0.305).float()
STRAIGHT = 1 - GRID
TWO_JUMPS = 0.2 + 0.5 * (GRID > 0.6) + 0.3 * (GRID > 0.61)
FLAT = torch.full_like(GRID, 0.7)


class Scores:
    """Known curves, and what was asked of them."""

    def __init__(self, *curves):
        self.curves = torch.stack(curves)
        self.rounds = []

    def __call__(self, image, step):
        assert bool((image.diff() >= 0).all())
        self.rounds.append(list(zip(image.tolist(), step.tolist(), strict=True)))
        return self.curves[image, step]

    @property
    def asked(self):
        return [pair for pairs in self.rounds for pair in pairs]


def refine(*curves, known_step=0, tolerance=0.01, counts=None):
    scores = Scores(*curves)
    counts = torch.arange(FINEST + 1) if counts is None else counts
    return scores, refined(scores, scores.curves[:, known_step], known_step, tolerance, counts)


@pytest.mark.parametrize("known_step", [0, FINEST])
@pytest.mark.parametrize("tolerance", [0.1, 0.01, 0.002, 1e-9])
def test_the_area_of_monotone_curves_is_known_to_the_tolerance(known_step, tolerance):
    curves = (STEP, STRAIGHT, TWO_JUMPS, FLAT, (-8 * GRID).exp(), 1 - STEP)
    _, found = refine(*curves, known_step=known_step, tolerance=tolerance)
    assert bool((found.error_bound <= tolerance).all())
    error = (area(found.curve) - area(torch.stack(curves))).abs()
    assert bool((error <= found.error_bound + 1e-6).all())


def test_the_bound_is_that_of_its_definition():
    _, found = refine(STEP, STRAIGHT, TWO_JUMPS, tolerance=0.008)
    for curve, evaluated, bound in zip(found.curve, found.evaluated, found.error_bound, strict=True):
        points = evaluated.nonzero()[:, 0].tolist()
        parts = [(high - low) / FINEST * abs(float(curve[high] - curve[low])) for low, high in pairwise(points)]
        parts = [part for part, (low, high) in zip(parts, pairwise(points), strict=True) if high - low > 1]
        deviation = sum(part**2 / 12 for part in parts) ** 0.5
        assert float(bound) == pytest.approx(min(sum(parts) / 2, 3 * deviation), abs=1e-6)


def test_three_standard_deviations_of_jumps_anywhere_are_what_it_says():
    random = torch.Generator().manual_seed(0)
    heights = torch.rand(40, generator=random)
    jumps = torch.rand(20_000, 40, generator=random, dtype=torch.float64)  # where in its part each jump is
    error = ((jumps - 0.5) * heights / 40).sum(1)
    bound = float(error_bound(heights / 40))
    assert 3 * float(error.std()) == pytest.approx(bound, rel=0.03)
    assert float((error.abs() <= bound).double().mean()) > 0.995


def test_a_jump_is_found_by_halving_and_nothing_else_is_evaluated():
    scores, found = refine(STEP)  # 28/224 · 1 / 2 = 0.0625, halved three times: 0.009
    assert len(scores.asked) == COARSEST + 3 == 11
    assert float(found.error_bound[0]) == pytest.approx(0.5 * 4 / 224)
    # the jump is between 68 and 69; between the points 56 and 84
    assert scores.rounds[1:] == [[(0, 70)], [(0, 63)], [(0, 66)]]
    scores, found = refine(STEP, tolerance=1e-9)
    assert scores.rounds[1:] == [[(0, 70)], [(0, 63)], [(0, 66)], [(0, 68)], [(0, 69)]]
    assert float(found.error_bound[0]) == 0.0
    assert torch.equal(area(found.curve), area(STEP[None]))


def test_a_flat_curve_costs_the_coarse_points_and_each_image_its_own():
    scores, found = refine(FLAT, STRAIGHT, tolerance=0.004)
    per_image = [sum(image == i for image, _ in scores.asked) for i in range(2)]
    assert per_image[0] == COARSEST == 8
    assert 28 < per_image[1] <= 56
    assert len(scores.rounds) == 4  # of 8, 16, 32 and at last some of 56 parts
    assert found.evaluated.sum(1).tolist() == [per_image[0] + 1, per_image[1] + 1]
    torch.testing.assert_close(found.curve, scores.curves)  # straight between evaluated points


@pytest.mark.parametrize("curve", [STRAIGHT, (-8 * GRID).exp(), 0.5 + 0.4 * (3 * GRID).cos()])
def test_a_greater_tolerance_costs_less(curve):
    asked = [len(refine(curve, tolerance=tolerance)[0].asked) for tolerance in (0.1, 0.05, 0.02, 0.01, 0.005)]
    assert asked == sorted(asked)
    assert asked[0] == COARSEST
    assert len(set(asked)) >= 4


def test_at_the_end_every_point_is_evaluated_once():
    noise = torch.rand(FINEST + 1, generator=torch.Generator().manual_seed(0))
    scores, found = refine(noise, tolerance=1e-9)
    assert len(scores.asked) == len(set(scores.asked)) == FINEST
    assert torch.equal(found.curve[0], noise)


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 256, 3))
    nn.init.normal_(net[3].weight, std=0.3)
    return net.eval()


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(4, 1, 16, 16, generator=generator), torch.rand(4, 16, 16, generator=generator)


@pytest.mark.parametrize("direction", ["deletion", "insertion"])
def test_evaluated_points_are_those_of_the_224_part_curve(direction):
    images, heatmaps = inputs()
    fixed, auto = (MaskingCurve(direction, num_steps=n, tolerance=t) for n, t in ((FINEST, None), ("auto", 0.02)))
    case = Case(network(), images, 1, heatmaps=heatmaps)
    found, expected = auto.refine(case), case[fixed]
    torch.testing.assert_close(found.curve[found.evaluated], expected[found.evaluated])
    assert torch.equal(case[auto], found.curve)
    assert bool((found.error_bound <= 0.02).all())
    assert bool((~found.evaluated).any(1).all())


@pytest.mark.parametrize("chunk_size", [1, 7, 64])
def test_evaluations_are_counted_and_fewer(chunk_size):
    images, heatmaps = inputs()
    net, curve = network(), MaskingCurve(num_steps="auto", tolerance=0.05)
    classifier = Classifier(net, chunk_size=chunk_size)
    case = Case(classifier, images, 1, heatmaps=heatmaps)
    expected = curve.refine(Case(net, images, 1, heatmaps=heatmaps))
    with images_through(net) as count:
        found = case[curve]
    assert count[0] == classifier.evaluations == int(expected.evaluated.sum())
    assert count[0] < 4 * curve.evaluations() == 4 * 225
    torch.testing.assert_close(found, expected.curve)


def test_metrics_of_a_tolerance():
    images, heatmaps = inputs()
    net = network()
    for function, share in ((insertion_auc, 1), (deletion_auc, 1), (insertion_deletion, 2)):
        fine = function(net, images, heatmaps, 1, num_steps=FINEST)
        for tolerance in (0.02, 0.005):
            found = function(net, images, heatmaps, 1, num_steps="auto", tolerance=tolerance)
            assert float((found - fine).abs().max()) <= share * tolerance
    for metric in (InsertionAUC, DeletionAUC, PixelFlipping):
        assert metric("auto").evaluations() == 225
        assert metric("auto", tolerance=0.1).evidence != metric("auto").evidence
    assert InsertionDeletion("auto").evidence == (InsertionAUC("auto").evidence + DeletionAUC("auto").evidence)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_steps": "fine"}, ValueError, "num_steps.*'auto'.*'fine'"),
        ({"num_steps": 0}, ValueError, "num_steps"),
        ({"num_steps": 1.5}, TypeError, "num_steps"),
        ({"num_steps": "auto", "tolerance": 0.0}, ValueError, "tolerance"),
    ],
)
def test_wrong_settings(settings, error, message):
    with pytest.raises(error, match=message):
        MaskingCurve(**settings)


def test_sufficient_pixels_needs_equal_steps():
    with pytest.raises(TypeError, match="num_steps"):
        SufficientPixels("auto")


def test_a_tolerance_is_of_auto_only():
    for num_steps in ("radau", 32):
        with pytest.raises(ValueError, match=f"`tolerance` to be None for num_steps={num_steps!r}"):
            InsertionAUC(num_steps, tolerance=0.5)
    assert InsertionAUC("auto").evidence == InsertionAUC("auto", tolerance=0.01).evidence


@pytest.mark.parametrize(("settings", "units"), [({"grid": (2, 3)}, 6), ({"grid": (4, 4)}, 16)])
@pytest.mark.parametrize("tolerance", [0.01, 1e-9])
def test_steps_that_change_equally_much_are_evaluated_once(settings, units, tolerance):
    images, heatmaps = inputs()
    net = network()
    classifier = Classifier(net, chunk_size=64)
    fine, auto = (MaskingCurve(num_steps=n, tolerance=t, **settings) for n, t in ((FINEST, None), ("auto", tolerance)))
    found = auto.refine(Case(classifier, images, 1, heatmaps=heatmaps))
    assert classifier.evaluations <= 4 * (units + 1)
    expected = Case(net, images, 1, heatmaps=heatmaps)[fine]
    torch.testing.assert_close(found.curve[found.evaluated], expected[found.evaluated])
    if tolerance < 1e-6:
        torch.testing.assert_close(found.curve, expected)
        assert classifier.evaluations == 4 * (units + 1)
