from __future__ import annotations

import math

import pytest
import torch

from lightning_xai import GradCAM
from lightning_xai._randomness import content_keys
from lightning_xai.evidence import Case, Neighbourhood, Neighbours
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics._harness import Batch, EvaluationCount, Squares, close, tiny_net


@pytest.mark.parametrize("noise", ["uniform", "gaussian"])
def test_distances_by_hand(noise):
    batch, net = Batch.draw(3), tiny_net()
    evidence = Neighbourhood(0.1, 4, noise, seed=2, absolute=True)
    case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps, explainer=Squares())
    found = case[evidence]
    for i in range(3):
        key = content_keys(batch.images[[i]])
        for j in range(4):
            shift = evidence.draw(key, (3, 9, 11), j)
            heatmap = Squares()(net, batch.images[[i]] + shift, batch.target[[i]])[0]
            close(found.heatmap_distance[i, j], (batch.heatmaps[i] - heatmap).double().norm())
            close(found.image_distance[i, j], shift.double().norm())
        close(found.heatmap_norm[i], batch.heatmaps[i].double().norm())


def test_noise_is_uniform_within_the_radius_or_gaussian():
    keys = content_keys(torch.rand(50, 1, 2, 2))
    uniform = Neighbourhood(0.3).draw(keys, (3, 20, 20), 0)
    assert uniform.abs().max() <= 0.3
    assert uniform.mean().abs().item() < 0.005
    assert uniform.std().item() == pytest.approx(0.3 / math.sqrt(3), rel=0.02)
    gaussian = Neighbourhood(0.3, noise="gaussian").draw(keys, (3, 20, 20), 0)
    assert gaussian.std().item() == pytest.approx(0.3, rel=0.02)


def test_noise_differs_between_images_samples_channels_and_seeds():
    keys = content_keys(torch.rand(2, 1, 2, 2))
    draws = [Neighbourhood(seed=seed).draw(keys, (2, 30), sample) for seed in (0, 1) for sample in (0, 1)]
    rows = torch.stack(draws).flatten(0, 2)
    correlations = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlations.abs().max() < 0.75
    assert len({tuple(row) for row in rows.tolist()}) == 16


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_no_more_than_a_chunk_is_explained_at_once(chunk_size):
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    classifier = Classifier(net, Readout(chunk_size=chunk_size))
    case = Case(classifier, batch.images, batch.target, heatmaps=batch.heatmaps, explainer=GradCAM(target_layer="0"))
    found = case[Neighbourhood(num_samples=5)]
    assert count.largest <= chunk_size
    assert count.images == 3 * Neighbourhood(num_samples=5).evaluations(explaining=1)
    whole = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps, explainer=GradCAM(target_layer="0"))
    close(found.heatmap_distance, whole[Neighbourhood(num_samples=5)].heatmap_distance)


def test_the_class_of_the_clean_image_is_explained():
    seen = []

    class Watching(Squares):
        def explain(self, classifier, images, target):
            seen.append(target)
            return super().explain(classifier, images, target)

    batch = Batch.draw(3)
    Case(tiny_net(), batch.images, batch.target, heatmaps=batch.heatmaps, explainer=Watching())[
        Neighbourhood(num_samples=2)
    ]
    assert torch.cat(seen).tolist() == batch.target.repeat_interleave(2).tolist()


def test_change():
    neighbours = Neighbours(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([2.0, 0.0]), torch.ones(2, 2))
    assert neighbours.change(relative=False).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    relative = neighbours.change(relative=True)
    assert relative[0].tolist() == [0.5, 1.0]
    assert relative[1].isnan().all()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"radius": 0.0}, ValueError, r"Expected `radius` to be > 0\.0, but got 0\.0\."),
        ({"radius": math.nan}, ValueError, r"Expected `radius` to be > 0\.0, but got nan\."),
        ({"radius": "big"}, TypeError, r"Expected `radius` to be a number, but got str\."),
        ({"num_samples": 0}, ValueError, r"Expected `num_samples` to be >= 1, but got 0\."),
        ({"noise": "salt"}, ValueError, r"Expected `noise` to be one of 'uniform', 'gaussian', but got 'salt'\."),
        ({"seed": None}, TypeError, r"Expected `seed` to be a whole number, but got NoneType\."),
    ],
)
def test_settings_are_checked(settings, error, text):
    with pytest.raises(error, match=text):
        Neighbourhood(**settings)
