"""Noise and radii are shares of the range of the images' values, whatever units these come in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai import Case, GradCAM, MetricSuite, functional, get_metric
from lightning_xai.evidence import AdversarialNeighbour, Neighbourhood, PerturbationResponse
from lightning_xai.metrics import HAAS, MaxSensitivity
from tests._nets import ConvNet

SIZE = (10, 12)
SHARES = {  # metric -> settings; all of these have no unit, and see the images only through noise
    "max_sensitivity": {},
    "avg_sensitivity": {"radius": 0.1},
    "relative_input_stability": {"radius": 0.05},
    "relative_output_stability": {"radius": 0.05},
    "relative_representation_stability": {"radius": 0.05, "relative": "norm"},
    "adversarial_stability": {"epsilon": 0.05},
}


class Divided(nn.Module):
    """The network on images in other units: it gets back what it would see itself."""

    def __init__(self, net, scale, shift):
        super().__init__()
        self.net, self.scale, self.shift = net, scale, shift

    def forward(self, images):
        return self.net((images - self.shift) / self.scale)


@pytest.fixture
def given():
    torch.manual_seed(0)
    images = torch.rand(4, 3, *SIZE)
    return {"net": ConvNet(3, 3).eval(), "images": images, "target": torch.tensor([0, 1, 2, 0])}


def scored(alias, settings, given, scale=1.0, shift=0.0, value_range=None):
    net, images = Divided(given["net"], scale, shift), given["images"] * scale + shift
    metric = get_metric(alias, **settings)
    ends = None if value_range is None else tuple(end * scale + shift for end in value_range)
    explainer = GradCAM(target_layer="net.features.4")
    # noise belongs to the content of the images, which has changed: let both have the same
    case = Case(net, images, given["target"], explainer=explainer, value_range=ends)
    case._keys = Case(None, given["images"]).keys
    return metric.scored(case)


@pytest.mark.parametrize(("scale", "shift"), [(255.0, 0.0), (4.5, -2.1), (1e-3, 0.0), (2.0, -1.0)])
@pytest.mark.parametrize("value_range", [None, (0.0, 1.0)])
@pytest.mark.parametrize("alias", SHARES)
def test_units_of_the_images_do_not_matter(alias, value_range, scale, shift, given):
    if alias == "relative_input_stability" and shift:
        shift = 0.0  # it divides by ‖x‖, of which another zero is another number by definition
    expected = scored(alias, SHARES[alias], given, value_range=value_range)
    found = scored(alias, SHARES[alias], given, scale, shift, value_range)
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=1e-3)
    assert expected.isfinite().any()
    if alias in {"max_sensitivity", "avg_sensitivity"}:
        absolute = scored(alias, SHARES[alias] | {"absolute": True}, given, scale, shift, value_range)
        assert not torch.allclose(absolute, expected, rtol=0.2)


def test_a_lipschitz_constant_has_a_unit(given):
    expected = scored("local_lipschitz", {}, given)
    torch.testing.assert_close(255 * scored("local_lipschitz", {}, given, 255.0), expected, rtol=5e-3, atol=0)


def test_gaussian_infidelity_of_a_gradient():
    """I·∂y/∂x has no unit, and neither has Δy."""

    class Squares(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, images):
            return (images / self.scale).square().flatten(1).sum(1)[:, None]

    images = torch.rand(3, 1, *SIZE)
    values = []
    for scale in (1.0, 255.0):
        gradient = 2 * images[:, 0] / scale  # 2 x / scale² of images x in these units
        case = Case(Squares(scale), images * scale, 1, heatmaps=gradient)
        case._keys = Case(None, images).keys
        values.append(case[PerturbationResponse("gaussian", num_samples=8)])
    torch.testing.assert_close(values[0].predicted, values[1].predicted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(values[0].real, values[1].real, rtol=1e-3, atol=1e-3)


def test_the_unit_by_hand():
    images = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2) * torch.tensor([1.0, 0.5]).view(2, 1, 1, 1) - 1.0
    own, fixed = Case(None, images), Case(None, images, value_range=(-1, 9))
    assert own.noise_unit().flatten().tolist() == [4.0, 2.0]
    assert fixed.noise_unit().flatten().tolist() == [10.0, 10.0]
    assert own.noise_unit(absolute=True).flatten().tolist() == [1.0, 1.0]
    assert fixed.noise_unit(absolute=True).flatten().tolist() == [1.0, 1.0]
    assert (own.value_range, fixed.value_range) == (None, (-1.0, 9.0))
    assert fixed.with_heatmaps(torch.rand(2, 1, 2)).value_range == (-1.0, 9.0)


@pytest.mark.parametrize("noise", ["uniform", "gaussian"])
def test_the_noise_of_an_image_by_hand(noise):
    images = torch.rand(2, 3, *SIZE) * torch.tensor([1.0, 7.0]).view(2, 1, 1, 1)
    case, evidence = Case(nn.Flatten(), images, 0), Neighbourhood(0.1, 4, noise)
    index, sample = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 3])
    found = evidence.noise_of(case, index, sample)
    for row, i, j in zip(found, index.tolist(), sample.tolist(), strict=True):
        drawn = evidence.draw(case.keys[[i]], (3, *SIZE), j)[0]
        torch.testing.assert_close(row, drawn * (images[i].max() - images[i].min()))


def constant(**settings):
    images = torch.stack([torch.full((3, *SIZE), 0.5), torch.rand(3, *SIZE)])
    return {"model": ConvNet(3, 3).eval(), "images": images, "target": 0, **settings}


@pytest.mark.parametrize("alias", [*SHARES, "local_lipschitz"])
@pytest.mark.parametrize("elementwise", [False, True])
def test_an_image_without_a_range_has_no_noise_of_its_own(alias, elementwise):
    if elementwise and not alias.startswith("relative"):
        pytest.skip("no such setting")
    settings = {"relative": "elementwise"} if elementwise else {}
    explainer = GradCAM(target_layer="features.4", relu=False)
    function = getattr(functional, alias)

    def first(**more):
        found = function(**constant(explainer=explainer), **settings, **more)
        return found[0] if isinstance(found, tuple) else found

    assert first().isnan().tolist() == [True, False]
    assert first(value_range=(0.0, 1.0)).isfinite().all()
    assert first(absolute=True).isfinite().all()


def test_an_attack_without_length_is_no_success_and_no_failure():
    metric = get_metric("adversarial_stability")
    metric.update(**constant(explainer=GradCAM(target_layer="features.4")))
    assert metric.rows[0, 1].item() == -1.0


def test_the_range_reaches_metrics_by_every_way(given):
    explainer = GradCAM(target_layer="features.4")
    arguments = {"model": given["net"], "images": given["images"], "target": given["target"], "explainer": explainer}
    expected = functional.max_sensitivity(**arguments, value_range=(-3.0, 5.0))
    metric, suite = MaxSensitivity(), MetricSuite(["max_sensitivity"])
    metric.update(**arguments, value_range=(-3.0, 5.0))
    suite.update(**arguments, value_range=(-3.0, 5.0))
    torch.testing.assert_close(metric.rows, expected)
    assert suite.compute()["max_sensitivity"] == metric.compute()
    times_eight = functional.max_sensitivity(**arguments, radius=0.16, absolute=True)
    torch.testing.assert_close(expected, times_eight)
    assert not torch.allclose(functional.max_sensitivity(**arguments), expected)


@pytest.mark.parametrize(
    ("value_range", "error"),
    [
        ((1.0, 1.0), ValueError),
        ((2.0, 1.0), ValueError),
        ((0.0, 1.0, 2.0), ValueError),
        ((0.0, math.inf), ValueError),
        ((math.nan, 1.0), ValueError),
        (("0", 1), TypeError),
        (255, TypeError),
        ((False, True), TypeError),
    ],
    ids=str,
)
def test_the_range_is_checked(value_range, error):
    for kind in (Case, HAAS):
        with pytest.raises(error, match=r"Expected `value_range` as \(low, high\)"):
            kind(value_range=value_range)


def test_evidence_of_other_units_is_other_evidence():
    for kind in (Neighbourhood, AdversarialNeighbour, PerturbationResponse):
        assert kind() != kind(absolute=True)
        assert kind().absolute is False
