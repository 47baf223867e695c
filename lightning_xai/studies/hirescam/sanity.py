"""Sanity checks that the thesis names and does not make: permuted labels, and a constant shift of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightning_xai.comparison.randomized_labels import data_randomization
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.shifted_images import input_invariance
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
