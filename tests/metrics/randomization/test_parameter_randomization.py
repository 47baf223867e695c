from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lightning_xai import FakeCAM, GradCAM
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.functional import parameter_randomization
from lightning_xai.metrics import MetricSuite, ParameterRandomization
from tests._nets import ConvNet, differences, state_of
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net
from tests.metrics.randomization._explainers import LastLayer, is_degenerate, randomized_maps
from tests.metrics.test_similarity import naive_ssim


def _reference(view, order="top_down", num_steps=8, similarity="spearman", seed=0):
    if is_degenerate(view.heat):
        return math.nan
    found = []
    for heat in randomized_maps(view, order, num_steps, seed):
        if is_degenerate(heat):
            found.append(0.0)
        elif similarity == "spearman":
            found.append(spearmanr(view.heat.ravel(), heat.ravel()).statistic)
        else:
            found.append(naive_ssim(view.heat, heat))
    return float(np.mean(found))


ENTRY = Entry(
    "parameter_randomization",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=(
        {"order": "bottom_up"},
        {"order": "independent", "seed": 3},
        {"similarity": "ssim", "num_steps": 2},
        {"num_steps": 1},
    ),
    explainer=LastLayer(),
)


class Nth(Explainer):
    """Return the given maps one after another, whatever is asked."""

    evaluations = 0

    def __init__(self, *maps):
        self._maps = list(maps)

    def explain(self, classifier, images, target):
        return torch.tensor([[self._maps.pop(0)]]).expand(len(images), -1, -1)


UP, DOWN, BENT, FLAT = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("maps", "value"),
    [
        ((UP, UP, UP), 1.0),
        ((UP, DOWN, DOWN), -1.0),
        ((UP, UP, BENT), 0.75),
        ((UP, BENT, FLAT), 0.25),  # a constant map counts 0
        ((UP, FLAT, FLAT), 0.0),
        ((FLAT, UP, UP), math.nan),
    ],
)
def test_by_hand(maps, value):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3), nn.Linear(3, 2))
    found = parameter_randomization(net, torch.rand(1, 1, 1, 3), Nth(*maps), target=0)
    assert found.item() == pytest.approx(value, nan_ok=True, abs=1e-6)


def test_a_map_that_ignores_the_model_scores_worst():
    batch = Batch.draw(3)
    assert parameter_randomization(tiny_net(), batch.images, FakeCAM(), batch.target).tolist() == [1.0] * 3


def test_the_original_is_not_averaged_in():
    batch = Batch.draw(3)
    arguments = ENTRY.given(batch, tiny_net())
    arguments["heatmaps"] = LastLayer()(arguments["model"], batch.images, batch.target)
    whole = parameter_randomization(**arguments, num_steps=1)
    assert whole.abs().max() < 0.9


def test_cost_and_no_trace_with_a_real_explainer():
    net, images, target = ConvNet(), torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    explainer = GradCAM(target_layer="features.4", relu=False)
    heatmaps = explainer(net, images, target)
    count, before = EvaluationCount(net), state_of(net)
    for num_steps, expected in ((8, 5), (5, 5), (2, 2)):  # five layers
        count.images = 0
        metric = ParameterRandomization(num_steps=num_steps)
        metric.update(model=net, images=images, target=target, explainer=explainer, heatmaps=heatmaps)
        assert count.images / 4 == expected <= metric.evaluations()
        assert differences(before, state_of(net)) == []
    assert not metric.rows.isnan().any()


def test_steps_are_shared_where_settings_are_equal():
    batch, net = Batch.draw(2), tiny_net()

    class Counting(LastLayer):
        calls = 0

        def explain(self, *args):
            type(self).calls += 1
            return super().explain(*args)

    names = {
        "spearman": ParameterRandomization(),
        "ssim": ParameterRandomization(similarity="ssim"),
        "efficient": "efficient_parameter_randomization",
    }
    MetricSuite(names).update(**{**ENTRY.given(batch, net), "explainer": Counting()})
    assert Counting.calls == 3  # conv, norm, linear


def test_a_failing_explainer_leaves_the_model_as_it_was():
    class Failing(LastLayer):
        calls = 0

        def explain(self, *args):
            type(self).calls += 1
            if self.calls == 3:
                raise RuntimeError("broken")
            return super().explain(*args)

    batch, net = Batch.draw(2), tiny_net()
    before = state_of(net)
    with pytest.raises(RuntimeError, match="broken"):
        parameter_randomization(**{**ENTRY.given(batch, net), "explainer": Failing()})
    assert Failing.calls == 3
    assert differences(before, state_of(net)) == []


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"Expected `similarity` to be one of 'spearman', 'ssim', but got 'pearson'"):
        ParameterRandomization(similarity="pearson")
    with pytest.raises(ValueError, match=r"Expected `order` to be one of 'top_down', .*Did you mean 'top_down'\?"):
        ParameterRandomization(order="topdown")
    with pytest.raises(ValueError, match="Expected `num_steps` to be >= 1"):
        ParameterRandomization(num_steps=0)
