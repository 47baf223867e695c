"""How far maps are from a reference, whatever their offset, and what a probe's score makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.trained import Trained
from lightning_xai import Case, Classifier, InsertionDeletion
from lightning_xai.metrics.correlation import spearman


@dataclass(frozen=True)
class MapErrors:
    """Errors of maps of n images, the median over these (and, for `worst`, the tenth that is worst).

    Attributes:
        pearson: Correlation with the reference over pixels.
        worst: The tenth percentile of it.
        spearman: Rank correlation.
        mean_square: Mean square error after both maps' means are subtracted, as a share of the reference's variance.
    """

    pearson: float
    worst: float
    spearman: float
    mean_square: float

    def columns(self) -> dict[str, float]:
        """Return what a row shows of it."""
        return {
            "pearson": self.pearson,
            "pearson_worst_tenth": self.worst,
            "spearman": self.spearman,
            "relative_rms": self.mean_square**0.5,
        }


def errors(maps: Tensor, reference: Tensor) -> MapErrors:
    """Return errors of maps (draws, n, H, W) from a reference (n, H, W), each image's the mean over its draws."""
    found, exact = maps.flatten(2), reference.flatten(1)
    off, own = found - found.mean(2, keepdim=True), exact - exact.mean(1, keepdim=True)
    length = (off.norm(dim=2) * own.norm(dim=1)).clamp(min=1e-20)
    pearson = ((off * own).sum(2) / length).mean(0)
    ranked = torch.stack([spearman(one, exact) for one in found]).mean(0)
    square = ((off - own).square().mean(2) / own.square().mean(1).clamp(min=1e-20)).mean(0)
    return MapErrors(
        float(pearson.median()), float(pearson.quantile(0.1)), float(ranked.median()), float(square.median())
    )


def scores_of_maps(network: Trained, maps: Tensor) -> Tensor:
    """Return the faithfulness (n,) of maps (n, H, W)."""
    classifier = Classifier(network.model, chunk_size=32, channels_last=True)
    return InsertionDeletion().score(Case(classifier, network.images, network.target, heatmaps=maps))
