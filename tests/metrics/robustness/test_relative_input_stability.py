from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xai import CenterHeatmap, GradCAM
from lightning_xai._randomness import content_keys
from lightning_xai.evidence import Neighbourhood
from lightning_xai.evidence.neighbours.neighbour_outputs import NeighbourOutputs
from lightning_xai.functional import relative_input_stability
from lightning_xai.metrics import (
    MaxSensitivity,
    MetricSuite,
    RelativeInputStability,
    RelativeOutputStability,
    RelativeRepresentationStability,
)
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics._harness import Batch, EvaluationCount, tiny_net
from tests.metrics.robustness._stability import FirstValue, change, close_at_defaults, stability_entry

ENTRY = stability_entry("relative_input_stability", lambda view, noisy, relative: change(view.image, noisy, relative))
STABILITIES = [RelativeInputStability, RelativeOutputStability, RelativeRepresentationStability]


def _noise(image, count=10):
    keys = content_keys(image)
    return torch.stack([Neighbourhood().draw(keys, tuple(image.shape[1:]), j)[0] for j in range(count)]).double()


@pytest.mark.parametrize("relative", ["norm", "elementwise"])
def test_by_hand(relative):
    # four values of 4: the heatmap moves by the noise at the first, so the norms of clean image and heatmap cancel
    image = torch.full((1, 1, 2, 2), 4.0)
    value = relative_input_stability(nn.Flatten(), image, FirstValue(), target=0, relative=relative, absolute=True)
    kept = [noise for noise in _noise(image) if noise.flatten().argmax() == 0]  # argmax of equal logits is the first
    expected = max(2 * noise[0, 0, 0].abs() / noise.norm() for noise in kept)
    assert 0 < len(kept) < 10
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_undefined_without_a_copy_that_keeps_the_prediction():
    class Fickle(nn.Module):
        """Say 1 to the one image it knows, 0 to all others."""

        def __init__(self, image):
            super().__init__()
            self.image = image

        def forward(self, images):
            known = (images == self.image).flatten(1).all(1).float()
            return torch.stack([1 - known, known], 1)

    image = torch.rand(1, 1, 2, 2)
    metric = RelativeInputStability()
    metric.update(model=Fickle(image), images=image, explainer=CenterHeatmap(), target=0)
    assert metric.undefined == 1


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
@pytest.mark.parametrize("relative", ["norm", "elementwise"])
def test_shares_everything_with_its_siblings_and_max_sensitivity(chunk_size, relative):
    batch, net = Batch.draw(4), tiny_net()
    count, explainer = EvaluationCount(net), GradCAM(target_layer="0")
    suite = MetricSuite([MaxSensitivity(), *(metric(relative=relative) for metric in STABILITIES)])
    classifier = Classifier(net, Readout(chunk_size=chunk_size))
    suite.update(
        model=classifier, images=batch.images, heatmaps=batch.heatmaps, target=batch.target, explainer=explainer
    )
    heatmaps = 10 if relative == "norm" else 20
    assert count.images / 4 == heatmaps + 11 == suite.evaluations(explaining=1)
    assert count.largest <= chunk_size
    assert all(metric.rows.isfinite().all() for metric in suite.values())


def test_a_model_without_feature_maps_has_input_and_output_stability():
    net, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.rand(2, 1, 4, 4)
    given = {"model": net, "images": images, "explainer": CenterHeatmap(), "target": 0}
    for metric in (RelativeInputStability(), RelativeOutputStability()):
        metric.update(**given)
        assert metric.compute() == 0.0
    with pytest.raises(ValueError, match=r"Expected the model to hold feature maps, .* `target_layer` names a layer"):
        RelativeRepresentationStability().update(**given)


def test_a_layer_that_the_model_lacks_is_an_error():
    batch = Batch.draw(2)
    with pytest.raises(ValueError, match="Expected `target_layer` to be one of"):
        relative_input_stability(
            tiny_net(), batch.images, GradCAM(target_layer="layer9"), batch.target, heatmaps=batch.heatmaps
        )


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"Expected `relative` to be one of 'norm', 'elementwise', but got 'ratio'"):
        RelativeInputStability(relative="ratio")
    assert NeighbourOutputs(Neighbourhood(num_samples=3), "elementwise").evaluations(explaining=5) == 3 * 6 + 1


def test_defaults_are_the_definition():
    close_at_defaults(ENTRY)
