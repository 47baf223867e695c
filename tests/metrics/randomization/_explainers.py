"""An explainer that depends on every layer of the tiny net, in torch and naively."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.randomized import randomized
from tests.metrics._harness import View


class LastLayer(Explainer):
    """Explain by Σ_k w_k a_k: activations before the last layer times its weights for the class, per pixel."""

    evaluations = 0

    def explain(self, classifier: Any, images: Tensor, target: Tensor) -> Tensor:
        net = classifier.model
        activations = net[:4](images)
        return (net[5].weight[target].view_as(activations) * activations).sum(1)


def last_layer(net: nn.Module, image: np.ndarray, target: int) -> np.ndarray:
    """Return the same from a net in float64 and eval mode."""
    with torch.no_grad():
        activations = net[:4](torch.from_numpy(image)[None])[0].numpy()
    weights = net[5].weight[target].detach().numpy()
    heat, index = np.zeros(image.shape[1:]), 0
    for channel in activations:
        for place in np.ndindex(channel.shape):
            heat[place] += channel[place] * weights[index]
            index += 1
    return heat


def randomized_maps(view: View, order: str, num_steps: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the map after each step; the new parameters are taken from the package as given."""
    with randomized(view.net, order, num_steps, seed) as steps:
        for _ in steps:
            yield last_layer(View(view.batch, view.net).double, view.image, view.target)


def is_degenerate(heat: np.ndarray) -> bool:
    return bool(heat.max() - heat.min() <= 1e-8 * np.abs(heat).max())
