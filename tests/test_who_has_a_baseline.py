"""Whoever hides, removes or replaces pixels takes the same baselines, and means the same by them."""

from __future__ import annotations

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from lightning_xai import (
    Explainer,
    ExplanationMetric,
    IntegratedGradients,
    get_explainer,
    get_metric,
    list_explainers,
    list_metrics,
)
from lightning_xai.evidence import baseline_images
from lightning_xai.functional import completeness
from tests._frozen import network
from tests.explainers._made import FEW
from tests.metrics._harness import SIZE, Batch, Squares, entry_of, tiny_net

BLACK = (-2.1, -2.0, -1.8)


def half(images):
    return images / 2


WITH_BASELINE = [alias for alias in list_explainers() if "baseline" in get_explainer(alias).settings()]
METRICS_WITH_BASELINE = [alias for alias in list_metrics() if "baseline" in get_metric(alias).settings()]


def test_who_has_a_baseline():
    assert (
        sorted(
            [
                "deep_lift",
                "integrated_grad_cam",
                "integrated_gradients",
                "kernel_shap",
                "lime",
                "occlusion",
                "rise",
                "score_cam",
            ]
        )
        == WITH_BASELINE
    )
    assert {"insertion_deletion", "relative_faithfulness", "completeness", "infidelity"} < set(METRICS_WITH_BASELINE)
    assert len(METRICS_WITH_BASELINE) == 19


@pytest.mark.parametrize("alias", WITH_BASELINE)
def test_explainers_with_a_black_of_ones_own(alias):
    """A network that adds the black itself gets the map that the network on images as they are gets from 0."""
    black = torch.tensor(BLACK)[:, None, None]

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network("")

        def forward(self, images):
            return self.net(images - black)

    images = torch.rand(2, 3, 16, 12)
    settings = FEW.get(alias, {}) | ({"target_layer": "features.4"} if alias in list_explainers("cam") else {})
    expected = get_explainer(alias, **settings)(network(""), images, 1)
    settings |= {"target_layer": "net.features.4"} if "target_layer" in settings else {}
    image = black.expand(3, 16, 12)
    for baseline in (BLACK, torch.tensor(BLACK), image, lambda images: 0 * images + black):
        found = get_explainer(alias, **settings, baseline=baseline)(Shifted(), images + black, 1)
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3 * scale)
    assert float((get_explainer(alias, **settings)(Shifted(), images + black, 1) - expected).abs().max()) > 1e-2 * scale


@pytest.mark.parametrize("alias", WITH_BASELINE)
@pytest.mark.parametrize("baseline", ["blur", "mean", "minimum", "uniform", half])
def test_each_image_has_its_own_baseline(alias, baseline):
    """What one image is given as a fixed image, a batch is given image by image."""
    images = torch.randn(3, 3, 16, 12)
    settings = FEW.get(alias, {}) | ({"target_layer": "features.4"} if alias in list_explainers("cam") else {})
    net = network("")
    found = get_explainer(alias, **settings, baseline=baseline)(net, images, 1)
    for i in range(3):
        fixed = baseline_images(images[[i]], baseline).expand(1, 3, 16, 12)[0]
        alone = get_explainer(alias, **settings, baseline=fixed)(net, images[[i]], 1)[0]
        torch.testing.assert_close(found[i], alone, rtol=0, atol=1e-4 * float(alone.abs().max()))


@pytest.mark.parametrize("alias", METRICS_WITH_BASELINE)
def test_metrics_with_a_black_of_ones_own(alias):
    batch, net, entry = Batch.draw(3), tiny_net().eval(), entry_of(alias)
    default = entry.metric({"baseline": 0.5})
    explainer = _From(default.baseline)
    default.update(**entry.given(batch, net) | ({"explainer": explainer} if alias == "completeness" else {}))
    for baseline in ([0.5] * 3, torch.full((3,), 0.5), torch.full((3, *SIZE), 0.5), lambda x: torch.full_like(x, 0.5)):
        metric = entry.metric({"baseline": baseline})
        given = {"explainer": _From(baseline)} if alias == "completeness" else {}
        metric.update(**entry.given(batch, net) | given)
        torch.testing.assert_close(metric.rows, default.rows, rtol=1e-5, atol=1e-6, equal_nan=True)
    other = entry.metric({"baseline": [0.5, -3.0, 0.25]})
    given = {"explainer": _From([0.5, -3.0, 0.25])} if alias == "completeness" else {}
    other.update(**entry.given(batch, net) | given)
    assert not torch.equal(other.rows.nan_to_num(), default.rows.nan_to_num()) or alias == "monotonicity"


class _From(Squares):
    def __init__(self, baseline):
        self.baseline = baseline


def test_completeness_knows_equal_baselines_by_their_values():
    net, images = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4, 1)), torch.rand(2, 3, 2, 2)
    for one, other in (
        (list(BLACK), torch.tensor(BLACK)),
        (torch.ones(3, 2, 2), torch.ones(3, 2, 2)),
        ("uniform",) * 2,
    ):
        explainer = IntegratedGradients(4, one)
        error = completeness(net, images, explainer, 1, baseline=other)
        assert float(error.max()) < 1e-4
    with pytest.raises(ValueError, match=r"Expected `baseline` to be \(-2\.1, .*, from which IntegratedGradients"):
        completeness(net, images, IntegratedGradients(4, BLACK), 1)


def test_from_yaml():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Explainer, "explainer")
    parser.add_subclass_arguments(ExplanationMetric, "metric")
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name before version 4.49
    for text, expected in (("0.5", 0.5), ("[-2.1, -2.0, -1.8]", BLACK), ("blur", "blur")):
        for key, name in (("explainer", "Occlusion"), ("metric", "InsertionDeletion")):
            found = parser.parse_string(
                f"{key}:\n  class_path: lightning_xai.{name}\n  init_args:\n    baseline: {text}\n"
            )
            assert instantiate(found)[key].baseline == expected
