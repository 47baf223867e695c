"""The peers that `benchmarks.equal_error` times compute our areas, with the evaluations that it says."""

import pytest
import torch

from benchmarks.array_peers import pytorch_grad_cam, pytorch_grad_cam_areas, quantus_areas, quantus_sensitivity
from benchmarks.combinations import (
    captum_sensitivity,
    combinations,
    midpoints,
    torchcam_areas,
    torchcam_areas_of_captum,
    trapezoid,
)
from benchmarks.evaluations import evaluations
from benchmarks.explained import Explained, captum_cam
from lightning_xai import Case, Classifier, GradCAM, MaskingCurve
from parity._setting import COUNT, PIXELS, close, images, network, target

STEPS = 12  # of 12 pixels; of Quantus 4 · 3 equal parts of the 432 values


@pytest.fixture
def explained() -> Explained:
    model = network()
    return Explained(model, model[4], images(), target())


def expected(explained: Explained, shares: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean insertion and deletion area by a rule, from curves through every pixel."""
    case = Case(Classifier(explained.model), explained.images, explained.target, explainer=GradCAM("4"))
    points = (shares * PIXELS).round().long()
    return torch.stack(
        [
            (case[MaskingCurve(kind, 0.0, PIXELS, ties="first")][:, points] * weights).sum(1).mean()
            for kind in ("insertion", "deletion")
        ]
    )


@pytest.mark.parametrize(
    ("areas", "rule", "passes"),
    [
        (torchcam_areas, trapezoid, 1 + 1 + 2 * (STEPS - 1)),  # Grad-CAM's pass, an empty image, both curves between
        (torchcam_areas_of_captum, trapezoid, 1 + 1 + 1 + 2 * (STEPS - 1)),
        (quantus_areas, trapezoid, 1 + 2 * STEPS),
        (pytorch_grad_cam_areas, midpoints, 1 + 2 * STEPS),
    ],
)
def test_areas(explained, areas, rule, passes):
    close(areas(explained, STEPS), expected(explained, *rule(STEPS)))
    assert evaluations(explained.model, lambda: areas(explained, STEPS)) == passes * COUNT


def test_sensitivity(explained):
    for cam in (captum_cam, pytorch_grad_cam):
        torch.manual_seed(0)
        assert captum_sensitivity(explained, cam).shape == (COUNT,)
        assert evaluations(explained.model, lambda cam=cam: captum_sensitivity(explained, cam)) == (1 + 10) * COUNT
    assert len(quantus_sensitivity(explained, 0.02, 10)) == COUNT
    assert all(432 % (3 * PIXELS // steps) == 0 for steps in combinations(PIXELS)[2].steps)
