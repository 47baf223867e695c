from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai._randomness import content_keys
from lightning_xai.evidence import Neighbourhood
from lightning_xai.functional import relative_output_stability
from tests.metrics._harness import Batch, close, tiny_net
from tests.metrics.robustness._stability import FirstValue, close_at_defaults, stability_entry

ENTRY = stability_entry(
    "relative_output_stability",
    lambda view, noisy, relative: np.sqrt(((view.logits(view.image) - view.logits(noisy)) ** 2).sum()),
)


def test_by_hand():
    # logits are the values: 4, 2, 2, 2 keep their order under noise of 0.02; the heatmap moves by the first value's
    image = torch.tensor([[[[4.0, 2.0], [2.0, 2.0]]]])
    value = relative_output_stability(nn.Flatten(), image, FirstValue(), target=0, absolute=True)
    noise = [Neighbourhood().draw(content_keys(image), (1, 2, 2), j)[0].double() for j in range(10)]
    expected = max((e[0, 0, 0].abs() / 4) / e.norm() for e in noise)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_falls_as_logits_grow():
    batch, net = Batch.draw(4), tiny_net()
    given = ENTRY.given(batch, net)
    before = relative_output_stability(**given)
    net[5].weight.data *= 2
    net[5].bias.data *= 2
    close(relative_output_stability(**given), before / 2, 1e-4)


def test_a_model_that_does_not_move_is_divided_by_the_least_denominator():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(net[1].weight)
    image = torch.full((1, 1, 2, 2), 4.0)
    value = relative_output_stability(net, image, FirstValue(), target=0, absolute=True)
    noise = [Neighbourhood().draw(content_keys(image), (1, 2, 2), j)[0, 0, 0, 0].abs().item() for j in range(10)]
    assert value.item() == pytest.approx(max(noise) / 4 / 1e-6, rel=1e-4)


def test_defaults_are_the_definition():
    close_at_defaults(ENTRY)
