"""How often a value lies within two of its standard errors of the truth: drawn again and again from many images."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import default_collate

from lightning_xai import GradCAM, RandomHeatmap, ShapesDataset
from lightning_xai.evidence.case import Case
from lightning_xai.metrics import InsertionDeletion, MaxSensitivity, PointingGame, Sufficiency
from tests._nets import ConvNet

IMAGES, PROBE, DRAWS = 256, 32, 2000


@pytest.fixture(scope="module")
def populations():
    """Rows of many images by metric: of a small network that has learnt a little, so that maps differ in worth."""
    torch.manual_seed(0)
    data = ShapesDataset(IMAGES, image_size=32)
    batch = default_collate([data[index] for index in range(IMAGES)])
    images, labels, masks = batch["image"], batch["label"], batch["mask"]
    net = ConvNet()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    case = Case(net.eval(), images, labels, explainer=GradCAM(), masks=masks)
    control = case.with_heatmaps(RandomHeatmap()(net, images, labels))
    faithfulness, pointing, sensitivity = InsertionDeletion(), PointingGame(), MaxSensitivity(num_samples=4)
    rows = faithfulness.score(case)
    return {
        "faithfulness": (faithfulness, rows),
        "gain": (faithfulness, rows - faithfulness.score(control)),
        "max_sensitivity": (sensitivity, sensitivity.score(case)),
        "pointing_game": (pointing, pointing.score(case)),
        "sufficiency": (sufficiency := Sufficiency(), sufficiency.score(case)),
    }


@pytest.mark.parametrize(
    ("name", "least"), [("faithfulness", 0.93), ("gain", 0.93), ("max_sensitivity", 0.91), ("pointing_game", 0.93)]
)
def test_two_standard_errors_hold_the_truth_as_often_as_they_should(populations, name, least):
    """95 % of a normal mean; sensitivities are skewed, so that theirs holds it less often."""
    metric, rows = populations[name]
    rows = rows[~rows.isnan()]
    generator = torch.Generator().manual_seed(1)
    truth, held = float(rows.mean()), 0
    for _ in range(DRAWS):
        found = metric.estimate(rows[torch.randint(len(rows), (PROBE,), generator=generator)])
        held += abs(found.value - truth) <= 2 * found.error
    assert least <= held / DRAWS <= 0.97


@pytest.mark.parametrize("count", [16, 32, 100])
def test_sufficiency_s_error_is_the_spread_of_its_values(populations, count):
    """It needs all maps at once, so it is no mean; images are drawn without repetition, which narrows the spread."""
    metric, rows = populations["sufficiency"]
    generator = torch.Generator().manual_seed(1)
    found = [metric.estimate(rows[torch.randperm(len(rows), generator=generator)[:count]]) for _ in range(300)]
    spread = torch.tensor([one.value for one in found]).std() / (1 - count / IMAGES) ** 0.5
    said = torch.tensor([one.error for one in found]).mean()
    assert 0.85 < float(said / spread) < 1.2
