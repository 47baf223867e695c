"""What each needs for one error of its areas, and that all of it stands beside ours."""

import pytest
import torch
from torch import nn

from benchmarks import equal_error
from benchmarks.combinations import Combination, midpoints, trapezoid
from benchmarks.explained import Explained
from benchmarks.mean_error import _from_which_on, points_for_a_mean, radau
from benchmarks.setting import Setting
from benchmarks.trained import Trained
from lightning_xai import GradCAM

SIDE = 16


@pytest.fixture
def explained():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    model[4].weight.data *= 20
    return Explained(model.eval(), model[1], torch.rand(3, 3, SIDE, SIDE), torch.tensor([0, 1, 2]))


def naive_areas(explained, steps):
    """Return mean insertion and deletion by equal parts, pixel sets made one by one."""
    areas = torch.zeros(2)
    maps = GradCAM("1")(explained.model, explained.images, explained.target)
    for image, heat, label in zip(explained.images, maps, explained.target, strict=True):
        order = heat.flatten().argsort(descending=True, stable=True)
        for row, kind in enumerate(("insertion", "deletion")):
            points = []
            for k in range(steps + 1):
                chosen = torch.zeros(SIDE * SIDE)
                chosen[order[: round(k * SIDE * SIDE / steps)]] = 1
                kept = chosen if kind == "insertion" else 1 - chosen
                points.append(explained.model((image * kept.view(SIDE, SIDE))[None]).softmax(1)[0, label])
            areas[row] += torch.trapezoid(torch.stack(points)).detach() / steps
    return areas / len(explained)


def test_the_fewest_steps_that_keep_the_error(explained, monkeypatch):
    monkeypatch.setattr(equal_error, "ERROR", 0.004)
    curves = equal_error._curves(explained, 64)
    naive = Combination("naive", naive_areas, lambda _: None, trapezoid, range(1, 40))
    way = equal_error._other(explained, curves, naive)
    finest = torch.stack([naive_areas(explained.rows(slice(i, i + 1)), 64) for i in range(3)])
    for steps, keeps in ((int(way.steps), True), (int(way.steps) - 1, False)):
        found = torch.stack([naive_areas(explained.rows(slice(i, i + 1)), steps) for i in range(3)])
        error = float((found - finest).square().mean().sqrt())
        assert (error <= 0.004) is keeps
        assert not keeps or way.error == pytest.approx(error, abs=1e-6)


def test_rules_integrate_lines():
    for rule in (trapezoid, midpoints):
        shares, weights = rule(6)
        assert float(weights.sum()) == pytest.approx(1)
        assert float((shares * weights).sum()) == pytest.approx(0.5)


def test_the_fewest_points_for_a_mean():
    """Curves of a known shape: what each rule is off by follows from the integrals of x and x²."""
    share = torch.linspace(0, 1, 2241, dtype=torch.float64)
    size = torch.tensor([0.5, 1.0], dtype=torch.float64)[:, None]
    curves = {"deletion": size * (1 - share) ** 2, "insertion": size * share}
    rows = list(points_for_a_mean(curves, 16))
    assert len(rows) == 10
    ours, any_number, parts, divisors, middles = rows[:5]
    # the trapezoid rule with n parts is off by size / 6n²: mean .75 / 6n², variance .125 / 36n⁴, half of it by chance
    off = lambda n: ((0.75**2 - 0.125 / 2 + 0.125 / 32) / 36 / n**4) ** 0.5  # noqa: E731
    fewest = next(n for n in range(2, 20) if off(n) <= 0.01)
    assert (parts["steps"], parts["error"]) == (str(fewest), pytest.approx(off(fewest), rel=1e-3))
    assert parts["evaluations_per_image"] == 2 * fewest
    assert (divisors["steps"], divisors["met"]) == ("4", True)
    assert (middles["steps"], middles["error"]) == ("3", pytest.approx(off(3) / 2, rel=1e-3))
    assert (ours["steps"], ours["error"]) == ("10", pytest.approx(0, abs=1e-6))  # exact for polynomials
    assert (any_number["steps"], any_number["error"]) == ("2", pytest.approx(0, abs=1e-6))
    assert [row["met"] for row in rows] == 10 * [True]
    assert radau(10)[1].sum() == pytest.approx(1)


def test_what_keeps_an_error_by_luck_is_not_enough():
    assert _from_which_on({2: False, 3: True, 4: False, 5: True, 6: True}) == 5
    assert _from_which_on({2: True, 3: True}) == 2
    assert _from_which_on({2: True, 3: False}) is None


def test_every_way_stands_beside_ours(explained, monkeypatch):
    passed = []

    def sensitivity(few):
        passed.append(few.model(few.images))

    naive = Combination("naive", naive_areas, sensitivity, trapezoid, range(4, 40))
    network = Trained("small", explained.model, explained.images, explained.target, 1.0)
    monkeypatch.setattr(equal_error, "larger_network", lambda *_: (network, explained.layer))
    monkeypatch.setattr(equal_error, "points_for_a_mean", lambda *_: [])
    monkeypatch.setattr(equal_error, "combinations", lambda _: [naive])
    rows = equal_error.run(Setting(torch.device("cpu"), quick=True)).rows
    assert [row["what"] for row in rows] == 2 * ["ours", "ours, Readout(precision='bf16')", "naive"]
    ours, _, theirs, ours_too, _, theirs_too = rows
    assert 1 + 1 + 2 * 2 <= ours["evaluations_per_image"] <= 1 + 1 + 2 * 10  # Radau's
    assert ours_too["evaluations_per_image"] == ours["evaluations_per_image"] + 10
    assert theirs_too["evaluations_per_image"] == theirs["evaluations_per_image"] + 1
    assert ours["to_ours"].median == 1
    assert all(row["error"] <= equal_error.ERROR and row["ms_per_image"] > 0 for row in rows)


def test_missing_packages_are_named(explained, monkeypatch):
    def absent(_):
        raise ModuleNotFoundError(name="quantus")

    network = Trained("small", explained.model, explained.images, explained.target, 1.0)
    monkeypatch.setattr(equal_error, "larger_network", lambda *_: (network, explained.layer))
    monkeypatch.setattr(equal_error, "points_for_a_mean", lambda *_: [])
    monkeypatch.setattr(equal_error, "combinations", absent)
    missing, *rows = equal_error.run(Setting(torch.device("cpu"), quick=True)).rows
    assert missing == {"what": "others: quantus is not installed"}
    assert len(rows) == 4
