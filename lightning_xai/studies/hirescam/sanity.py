"""Sanity checks that the thesis names and does not make, and how many heatmaps are blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightning_xai.comparison.cell import Cell
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.sanity_checks.randomized_labels import data_randomization
from lightning_xai.comparison.sanity_checks.shifted_images import input_invariance
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.studies.analysis import AnalysisContext


def permuted_labels(context: AnalysisContext, part: str, trained: str, permuted: str, again: str) -> Records:
    """Return how much heatmaps agree with those of a network that was trained on permuted labels.

    Args:
        context: Of the analysis.
        part: Whose networks these are.
        trained: Recipe of the network on the true labels.
        permuted: Recipe of the one on permuted labels.
        again: Recipe of another one on the true labels, from another seed.
    """
    first = {one.recipe_name: one.name for one in reversed(list(context.parts[part].trained()))}
    found = data_randomization(context.findings.part(part), first[trained], first[permuted], retrained=first[again])
    columns = ("explainer", "agreement", "low", "high", "retrained", "difference_low", "difference_high", "verdict")
    rows = tuple(tuple(row[name] for name in columns) for row in found)
    notes = (
        "Spearman's correlation of heatmaps of one image: with the network on permuted labels, and with a retrained "
        "one. A method passes if the second is higher, image by image.",
    )
    return Records(columns, rows, "", notes)


def shifted_images(context: AnalysisContext, part: str, networks: Sequence[str], num_images: int = 16) -> Records:
    """Return whether heatmaps stay when a constant is added to the images and taken out again by the network.

    Args:
        context: Of the analysis.
        part: Whose networks, images and explainers.
        networks: Names of groups of networks, of each the first training; all if empty.
        num_images: Of each data.
    """
    asked = replace(context.parts[part], metrics={"sparseness": "sparseness"}, num_images=num_images)
    columns = ("model", "explainer", "distance", "low", "high", "agreement", "verdict")
    groups: dict[str, str] = {}
    for one in asked.trained():
        groups.setdefault(one.group, one.name)
    chosen = {name for group, name in groups.items() if not networks or group in networks}
    rows = []
    for comparison in asked.comparisons(context.networks, None, device=context.device, progress=False):
        models = [name for name in comparison.models if name in chosen]
        if models:
            found = input_invariance(comparison.run().only(models=models))
            rows += [tuple(row[name] for name in columns) for row in found]
    notes = ("Distance of the two heatmaps over the mean of their norms, with a 95 % interval; below .01 passes.",)
    return Records(columns, tuple(rows), "", notes)


def blank_maps(context: AnalysisContext, part: str) -> Records:
    """Return the share of images whose heatmap is zero everywhere, in [0, 1], by network and explainer.

    ReLU leaves nothing where the weighted sum of features is nowhere positive. Such a map is perfectly robust, ranks
    nothing and has no range to normalise.

    Args:
        context: Of the analysis.
        part: Whose heatmaps.
    """
    table = context.findings.part(part)
    explainers = [name for name in table.explainers if name not in table.controls]
    rows = [(one.model, *(_share_blank(table, Cell(one, name)) for name in explainers)) for one in table.settings]
    return Records(("network", *explainers), tuple(rows))


def _share_blank(table: ComparisonTable, cell: Cell) -> float | None:
    found = table.heatmaps.get(cell)
    return None if found is None else float((found.signature == 0).flatten(1).all(1).float().mean())
