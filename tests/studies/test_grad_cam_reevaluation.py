"""The study that examines Grad-CAM again: its printed numbers, and what reacts to the percentile, by hand."""

import pytest
import torch

from lightning_xai.comparison import Cell, CellValues, Setting
from lightning_xai.studies import Findings, Study
from lightning_xai.studies.grad_cam_reevaluation.percentile import reacts_most
from tests.studies._made import made_table

CALM, MOVED, MIXED = [0.5, 0.5, 0.6, 0.5] * 2, [0.9, 0.8, 0.96, 0.9] * 2, [0.5, 0.9, 0.5, 0.9] * 2


def table(first, second):
    """Return a table in which explainer a goes from CALM to ``first``, and b to ``second``."""
    made = made_table({("m", "a"): CALM, ("m", "b"): CALM}, metric="sparseness")
    for name, rows in (("a", first), ("b", second)):
        cell = Cell(Setting("m", "d", "none", "label"), name)
        made.values[cell, "other"] = CellValues(torch.tensor(rows), made.values[cell, "sparseness"].facts)
    return Findings({"p": made})


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [(MOVED, CALM, "supported"), (CALM, MOVED, "contradicted"), (MIXED, MIXED[::-1], "undecided")],
)
def test_who_moves_more(first, second, outcome):
    verdict = reacts_most(table(first, second), "p", [["sparseness", "other"]], "a", ["b"])
    assert verdict.outcome == outcome
    gap = sum(abs(x - c) - abs(y - c) for x, y, c in zip(first, second, CALM, strict=True)) / 8
    assert f": {gap:+.3g} [" in verdict.why


def test_an_undefined_image_is_left_out():
    verdict = reacts_most(table([float("nan"), *MOVED[1:]], CALM), "p", [["sparseness", "other"]], "a", ["b"])
    assert f": {(2 * (0.3 + 0.36 + 0.4) + 0.4) / 7:+.3g} [" in verdict.why


def test_printed_numbers_are_those_of_the_text():
    printed = Study.load("grad_cam_reevaluation").printed
    assert len(printed["table_7"]) == 24
    deep = {
        name: printed["table_7"]["contrastivity (10%)", f"CIFAR-10 · {name}"].value
        for name in ("Grad-CAM", "SHAP", "IG")
    }
    assert max(deep, key=deep.get) == "Grad-CAM"  # as the text says of table 7
    lines = {one.line for one in printed["table_6"].values()}
    assert len(lines) == 2
    assert printed["table_6"]["GoogLeNet", "after · max"].value == 0.9302
