"""Our infidelity and sensitivity against those of captum, on the same perturbations."""

import math

import pytest
import torch
from captum.metrics import infidelity as infidelity_of_captum
from captum.metrics import sensitivity_max

from lightning_xai import CenterHeatmap
from lightning_xai._randomness import content_keys
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood
from lightning_xai.evidence.removal.perturbation_response import PerturbationResponse
from lightning_xai.functional import infidelity, max_sensitivity
from parity._setting import COUNT, InputTimesGradient, close, heatmaps, images, network, target

SAMPLES = 16


def repeated(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return content key and sample of each row of a batch in which every image is repeated ``count`` times."""
    return content_keys(images()).repeat_interleave(count), torch.arange(count).repeat(COUNT)


@pytest.mark.parametrize("settings", [{}, {"perturbation": "gaussian"}], ids=["square", "gaussian"])
@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity(settings, normalize):
    """Infidelity(normalize) = infidelity(normalize): E[(Σ I·m − (y(x) − y(x − I)))²] over the same I.

    captum is given our perturbations I with the perturbed images, and the heatmap once per channel; y are logits. The
    heatmap knows something about the model, or the factor of ``normalize`` would be next to nothing; an error of 1 % in
    it would be seen.
    """
    heatmaps = InputTimesGradient()(network(), images(), target())
    evidence = PerturbationResponse(num_samples=SAMPLES, **settings)

    def perturbed(repeated_images):
        change = evidence.draw(repeated_images, *repeated(SAMPLES))
        return change, repeated_images - change

    theirs = infidelity_of_captum(
        network(),
        perturbed,
        images(),
        heatmaps[:, None].expand(-1, 3, -1, -1),
        target=target(),
        n_perturb_samples=SAMPLES,
        normalize=normalize,
    )
    given = (network(), images(), heatmaps, target())
    close(infidelity(*given, num_samples=SAMPLES, normalize=normalize, absolute=True, **settings), theirs, 1e-6)


def sensitivity_of_captum(explainer, radius):
    neighbourhood = Neighbourhood(radius, SAMPLES)

    def perturbed(repeated_images):
        return repeated_images + neighbourhood.draw(repeated(SAMPLES)[0], (3, 12, 12), repeated(SAMPLES)[1])

    def explained(given, target):
        return (explainer(network(), given[0] if isinstance(given, tuple) else given, target),)

    return sensitivity_max(explained, images(), perturbed, n_perturb_samples=SAMPLES, target=target())


@pytest.mark.parametrize("radius", [0.02, 0.5])
def test_max_sensitivity(radius):
    """MaxSensitivity(radius) = sensitivity_max(norm_ord="fro") with the same uniform noise, relative to ‖m(x)‖."""
    ours = max_sensitivity(
        network(), images(), InputTimesGradient(), target(), radius=radius, num_samples=SAMPLES, absolute=True
    )
    close(ours, sensitivity_of_captum(InputTimesGradient(), radius))


class Dead(CenterHeatmap):
    def explain(self, classifier, images, target):
        return torch.zeros_like(super().explain(classifier, images, target))


def test_difference_dead_maps():
    """captum divides by 1 where the heatmap is zero and calls it perfectly robust; ours is undefined there."""
    assert sensitivity_of_captum(Dead(), 0.02).tolist() == [0.0] * COUNT
    ours = max_sensitivity(network(), images(), Dead(), target(), num_samples=SAMPLES, absolute=True)
    assert all(math.isnan(value) for value in ours.tolist())


def test_difference_captum_takes_dead_maps_for_explanations():
    """A zero map predicts no change, so that captum's error is the mean squared change; ours is undefined there."""
    dead = torch.zeros_like(heatmaps())
    evidence = PerturbationResponse(num_samples=SAMPLES)

    def perturbed(repeated_images):
        change = evidence.draw(repeated_images, *repeated(SAMPLES))
        return change, repeated_images - change

    theirs = infidelity_of_captum(
        network(), perturbed, images(), dead[:, None].expand(-1, 3, -1, -1), target=target(), n_perturb_samples=SAMPLES
    )
    assert theirs.min() > 0
    assert infidelity(network(), images(), dead, target(), num_samples=SAMPLES).isnan().all()
