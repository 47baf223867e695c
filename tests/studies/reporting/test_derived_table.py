"""Tables made by functions, loops over settings, and networks with data of their own."""

import math

import pytest
import torch

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.studies import Findings, Study
from lightning_xai.studies.reporting.derived_table import DerivedTable
from lightning_xai.studies.reporting.printed import PrintedNumber, beside, faults
from lightning_xai.studies.training.fitting import fit
from lightning_xai.studies.training.recipe import Recipe, recipe_families
from lightning_xai.studies.training.trained_networks import made_network
from tests.studies._made import DECLARED, data, written_study

PRINTED = {
    ("a", "x"): PrintedNumber(0.5, 1, "A slip"),
    ("b", "x"): PrintedNumber(0.7, 2),
    ("b", "y"): PrintedNumber(0.1, 3),
}


def numbers(findings, scale):
    """Return a number where the paper has one, one in a new row, one in a new column, and one that is missing."""
    return {
        "a": {"x": Estimate(0.25 * scale, 0.125)},
        "new": {"x": Estimate(scale), "y": Estimate(math.nan)},
        "b": {"z": Estimate(0.3 * scale)},
    }


def table(**settings):
    return DerivedTable(
        "t",
        "A table",
        "tests.studies.reporting.test_derived_table.numbers",
        ("p",),
        {"scale": 1.0},
        decimals=2,
        **settings,
    )


def test_a_function_makes_the_numbers():
    found = table(mean_of_paper=True).filled(Findings({}), PRINTED)
    assert found.columns == ("", "x", "y", "z")
    assert found.rows[0] == ("a", "0.25 ± 0.12 | 0.50 | -0.25", "– | – | –", "– | mean 0.50 | –")
    assert found.rows[1] == ("new", "1.00 | mean 0.60 | +0.40", "– | mean 0.10 | –", "– | – | –")
    assert found.rows[2] == ("b", "– | 0.70 | –", "– | 0.10 | –", "0.30 | mean 0.40 | -0.10")
    assert found.notes[-1] == "In the paper (a, x): A slip"
    alone = table().filled(Findings({}), {})
    assert alone.rows[1] == ("new", "1.00", "–", "–")
    assert table().filled(Findings({}), PRINTED).rows[1][1] == "1.00 | – | –"
    assert table().reads == {"p"}


def test_many_places_with_one_fault_are_told_in_short():
    printed = {(str(place), "x"): PrintedNumber(1.0, 1, "A slip") for place in range(5)}
    assert list(faults(printed)) == ["In the paper (0, x; 1, x; 2, x; 2 more): A slip"]
    assert beside(Estimate(math.nan), 1.0, 1) == "– | 1.0 | –"


def test_a_recipe_that_varies_is_one_for_each_combination():
    families = recipe_families(
        {"a": {"network": data(1), "vary": {"batch_size": [2, 4], "seed": [0, 1]}}, "b": {"network": data(1)}}
    )
    assert list(families["a"]) == ["a-2-0", "a-2-1", "a-4-0", "a-4-1"]
    assert (families["a"]["a-4-1"].batch_size, families["a"]["a-4-1"].seed) == (4, 1)
    assert list(families["b"]) == ["b"]
    with pytest.raises(ValueError, match="`vary` of recipe 'a' to list values"):
        recipe_families({"a": {"network": data(1), "vary": {"seed": []}}})


def test_each_network_has_its_own_data(tmp_path):
    text = DECLARED.replace("    epochs: [1, 2]\n", "    epochs: [1]\n    vary: {batch_size: [16, 32]}\n")
    text = text.replace("recipes: [conv]", "recipes: [conv, other]\n    data_of: {conv: bright, other: dark}")
    text = text.replace("parts:\n", "  other: {network: {class_path: tests.studies._made.network}}\nparts:\n", 1)
    text = text.replace("data: {bright:", "data: {dark: {class_path: tests.studies._made.Bright}, bright:")
    study = Study.load(written_study(tmp_path, text), limit=4)
    found = study.run(tmp_path / "out", progress=False)
    settings = {(one.model, one.data) for one in found.findings.parts["main"].settings}
    assert settings == {("conv-16", "bright"), ("conv-32", "bright"), ("other", "dark")}
    rows = {row[0]: row[1] for row in found.table("table_1").rows}
    assert all(f"{name} · grad_cam" in rows for name, _ in settings)  # the data follow the network
    missing = text.replace("data_of: {conv: bright, other: dark}", "data_of: {conv: bright}")
    (tmp_path / "again").mkdir()
    with pytest.raises(ValueError, match="`data_of` of part 'main' to name one of its data for each of conv, other"):
        Study.load(written_study(tmp_path / "again", missing))


def test_a_rate_falls_in_steps(monkeypatch):
    rates = []
    step = torch.optim.lr_scheduler.StepLR.step
    monkeypatch.setattr(
        torch.optim.lr_scheduler.StepLR, "step", lambda self, *a: (step(self, *a), rates.append(self.get_last_lr()[0]))
    )
    settings = {"schedule": "step", "decay": 0.5, "decay_every": 2, "learning_rate": 0.8, "optimizer": "sgd"}
    recipe = Recipe({"class_path": "tests.studies._made.network"}, train=data(8), epochs=(4,), **settings)
    fit(made_network(recipe), recipe, lambda epoch: None)
    assert rates[-4:] == pytest.approx([0.8, 0.4, 0.4, 0.2])
