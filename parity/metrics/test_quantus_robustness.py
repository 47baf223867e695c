"""Our robustness metrics against those of Quantus, on the same noise, handed over by its ``perturb_func``."""

import math

import pytest
import quantus
import torch

from lightning_xai._randomness import content_keys
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood
from lightning_xai.functional import (
    avg_sensitivity,
    local_lipschitz,
    max_sensitivity,
    relative_input_stability,
    relative_output_stability,
    relative_representation_stability,
)
from parity._setting import InputTimesGradient, close, images, network, target
from parity.metrics._quantus import RAW, scored, shaken_by

SAMPLES = 5
RELATIVE = [
    (relative_input_stability, quantus.RelativeInputStability, {}),
    (relative_output_stability, quantus.RelativeOutputStability, {}),
    (relative_representation_stability, quantus.RelativeRepresentationStability, {"layer_names": ["3"]}),
]
relative_stabilities = pytest.mark.parametrize(("ours", "theirs", "settings"), RELATIVE)


def noise(radius: float, kind: str = "uniform", start: int = 0):
    """Return our noise of one sample after the other, as Quantus asks for it."""
    neighbourhood, keys = Neighbourhood(radius, SAMPLES, kind), content_keys(images())
    return shaken_by(lambda call: neighbourhood.draw(keys, tuple(images().shape[1:]), start + call))


def by_quantus(metric, **others):
    return scored(metric, images(), target(), model=network(), explainer=InputTimesGradient(), **others)


def test_local_lipschitz():
    """LocalLipschitz(relative=False) = LocalLipschitzEstimate(): largest ‖Δm‖₂ / ‖Δx‖₂ under gaussian noise.

    Ours divides by ‖m(x)‖ by default, which Quantus has no setting for.
    """
    metric = quantus.LocalLipschitzEstimate(nr_samples=SAMPLES, perturb_func=noise(0.05, "gaussian"), **RAW)
    settings = {"radius": 0.05, "num_samples": SAMPLES, "absolute": True}
    ours = local_lipschitz(network(), images(), InputTimesGradient(), target(), relative=False, **settings)
    close(ours, by_quantus(metric))
    norm = InputTimesGradient()(network(), images(), target()).flatten(1).norm(dim=1)
    relative = local_lipschitz(network(), images(), InputTimesGradient(), target(), **settings)
    torch.testing.assert_close(relative, ours / norm)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(max_sensitivity, quantus.MaxSensitivity), (avg_sensitivity, quantus.AvgSensitivity)]
)
def test_sensitivity(ours, theirs):
    """MaxSensitivity() = MaxSensitivity(), and the mean: ‖m(x) − m(x')‖_F / ‖m(x)‖_F over the same uniform noise."""
    metric = theirs(nr_samples=SAMPLES, perturb_func=noise(0.05), **RAW)
    found = ours(network(), images(), InputTimesGradient(), target(), radius=0.05, num_samples=SAMPLES, absolute=True)
    close(found, by_quantus(metric))


@relative_stabilities
def test_relative_stability(ours, theirs, settings):
    """relative="elementwise" = the default of Quantus: changes divided value by value, zeros by 1e-6.

    ROS reads logits on both sides. For RRS both read the activations of layer "3", the explainer's target layer. The
    noise is so small that no prediction changes.
    """
    found = ours(
        network(),
        images(),
        InputTimesGradient(),
        target(),
        radius=1e-3,
        num_samples=SAMPLES,
        relative="elementwise",
        absolute=True,
    )
    metric = theirs(nr_samples=SAMPLES, perturb_func=noise(1e-3), **RAW, **settings)
    expected = by_quantus(metric)
    assert not torch.from_numpy(expected).isnan().any()
    close(found, expected)


@relative_stabilities
def test_difference_one_changed_prediction(ours, theirs, settings):
    """Quantus has no value if one copy of an image changes the prediction; ours leaves this copy out."""
    radius = 1.0
    found = ours(
        network(),
        images(),
        InputTimesGradient(),
        target(),
        radius=radius,
        num_samples=SAMPLES,
        relative="elementwise",
        absolute=True,
    )
    whole = by_quantus(theirs(nr_samples=SAMPLES, perturb_func=noise(radius), **RAW, **settings))
    singles = [
        by_quantus(theirs(nr_samples=1, perturb_func=noise(radius, start=sample), **RAW, **settings))
        for sample in range(SAMPLES)
    ]
    copies = torch.stack([torch.from_numpy(single) for single in singles], 1)
    expected = copies.nan_to_num(-math.inf).amax(1)
    some = copies.isnan().any(1) & ~copies.isnan().all(1)
    assert some.any()
    assert torch.from_numpy(whole)[some].isnan().all()
    close(found, torch.where(expected.isinf(), torch.nan, expected))


class Rectified(InputTimesGradient):
    def explain(self, classifier, images, target):
        return super().explain(classifier, images, target).relu()


def test_difference_divided_by_norms():
    """A pixel that is 0 in a rectified map is divided by 1e-6 in Quantus and the paper; ours divides norms by norms."""
    metric = quantus.RelativeInputStability(nr_samples=SAMPLES, perturb_func=noise(0.02), **RAW)
    theirs = scored(metric, images(), target(), model=network(), explainer=Rectified())
    given = (network(), images(), Rectified(), target())
    close(relative_input_stability(*given, num_samples=SAMPLES, relative="elementwise", absolute=True), theirs)
    assert theirs.min() > 100
    assert relative_input_stability(*given, num_samples=SAMPLES, absolute=True).max() < 30
