"""Standard errors mean what they say: how often value ± 2 errors holds the value of the whole population.

Samples are drawn from the rows of a large population of images; with a normal distribution it would be 95 %.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from lightning_xai import GradCAM
from lightning_xai.explainers.controls.random_heatmap import RandomHeatmap
from lightning_xai.metrics import ExplanationMetric, InsertionDeletion, MaxSensitivity, PointingGame, Sufficiency
from tests.metrics._harness import Batch, tiny_net

POPULATION, DRAWS = 1500, 400


@cache
def population() -> Batch:
    return Batch.draw(POPULATION, seed=11)


def rows_of(metric: ExplanationMetric, **given: object) -> torch.Tensor:
    batch = population()
    fields = {"images": batch.images, "heatmaps": batch.heatmaps, "target": batch.target}
    metric.update(**{"model": tiny_net(), **fields, **given})
    return metric.rows


@cache
def faithfulness() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of the heatmaps and those of the random control."""
    batch = population()
    random = RandomHeatmap()(tiny_net(), batch.images, batch.target)
    return rows_of(InsertionDeletion(num_steps=4)), rows_of(InsertionDeletion(num_steps=4), heatmaps=random)


@cache
def sensitivities() -> torch.Tensor:
    return rows_of(MaxSensitivity(), explainer=GradCAM(target_layer="0"), heatmaps=None)


@cache
def hits() -> torch.Tensor:
    batch = population()
    metric = PointingGame()
    metric.update(heatmaps=batch.heatmaps, masks=batch.masks)
    return metric.rows


def alike_explanations(count: int = 4000) -> torch.Tensor:
    """Return rows of `Sufficiency`: six kinds of maps with noise, of whose images 70 % have the class of their kind."""
    random = torch.Generator().manual_seed(0)
    kind = torch.randint(6, (count,), generator=random)
    cells = torch.rand(6, 196, generator=random)[kind] + 0.25 * torch.randn(count, 196, generator=random)
    chance = torch.randint(3, (count,), generator=random)
    label = torch.where(torch.rand(count, generator=random) < 0.7, kind % 3, chance)
    return torch.cat([cells / cells.abs().amax(1, keepdim=True), label[:, None]], 1)


def samples(rows: torch.Tensor, size: int, draws: int = DRAWS) -> torch.Tensor:
    """Return places of ``size`` rows, (draws, size), drawn with replacement."""
    return torch.randint(len(rows), (draws, size), generator=torch.Generator().manual_seed(size))


def covered(estimates: list, truth: float) -> float:
    return sum(abs(found.value - truth) <= 2 * found.error for found in estimates) / len(estimates)


@pytest.mark.parametrize("size", [16, 32, 128])
def test_faithfulness_and_its_gain(size):
    metric, (rows, control) = InsertionDeletion(num_steps=4), faithfulness()
    places = samples(rows, size)
    assert covered([metric.estimate(rows[one]) for one in places], float(metric.aggregate(rows))) > 0.91
    gain = float((rows - control).mean())
    assert covered([metric.difference(rows[one], control[one]) for one in places], gain) > 0.91


@pytest.mark.parametrize("size", [32, 128])
def test_pointing_game(size):
    metric, rows = PointingGame(), hits()
    found = [metric.estimate(rows[one]) for one in samples(rows, size)]
    assert covered(found, float(metric.aggregate(rows))) > 0.91
    assert {estimate.undefined > 0 for estimate in found} == {True}  # those without an object do not count


@pytest.mark.parametrize("size", [32, 512])
def test_the_largest_change(size):
    metric, rows = MaxSensitivity(), sensitivities()
    found = [metric.estimate(rows[one]) for one in samples(rows, size)]
    assert covered(found, float(metric.aggregate(rows))) > 0.91


@pytest.mark.parametrize(("size", "least", "most"), [(32, 0.86, 0.91), (512, 0.92, 0.97)])
def test_skewed_largest_changes_are_covered_less_as_the_documentation_says(size, least, most):
    """Of trained networks, sensitivities are about log-normal: few images miss the tail that lifts the mean."""
    rows = torch.randn(50_000, generator=torch.Generator().manual_seed(0)).exp()
    metric = MaxSensitivity()
    found = [metric.estimate(rows[one]) for one in samples(rows, size, 3000)]
    assert least < covered(found, float(metric.aggregate(rows))) < most


@pytest.mark.parametrize("size", [32, 100, 101])
def test_sufficiency_of_which_every_image_is_a_neighbour_of_others(size):
    metric, rows = Sufficiency(threshold=1.2), alike_explanations()
    found = [metric.estimate(rows[one]) for one in samples(rows, size, 200)]
    truth = float(metric.aggregate(rows[:2000]))
    assert covered(found, truth) > 0.91
    spread = torch.tensor([estimate.value for estimate in found]).std().item()
    errors = torch.tensor([estimate.error for estimate in found]).mean().item()
    assert errors == pytest.approx(spread, rel=0.2)


def test_the_error_of_sufficiency_does_not_jump_at_any_size():
    metric, rows = Sufficiency(threshold=1.2), alike_explanations(130)
    errors = [metric.estimate(rows[:size]).error for size in range(90, 130)]
    steps = torch.tensor(errors).diff().abs() / torch.tensor(errors)[1:]
    assert steps.max() < 0.1
