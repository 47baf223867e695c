"""How far RISE's maps are from its many-sample limit, by number of masks and by how masks are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.map_error import errors, scores_of_maps
from benchmarks.photographs import networks
from benchmarks.probe_error import PROBE, of_a_mean
from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.trained import Trained
from lightning_xai import RISE, Classifier
from lightning_xai.explainers.perturbation.cell_sampling import independent_cells, orthogonal_cells
from lightning_xai.explainers.perturbation.rise import masks_of_cells

_GRID = 7
_GAIN = 2
_LIMIT_SEED = 1 << 20
_BALANCED = 64  # masks among which each cell is kept equally often
_Drawn = tuple[Tensor, Tensor]
_Estimate = Callable[[Tensor, Tensor], Tensor]
"""Maps (n, pixels) of scores (n, m) and masks (m, pixels)."""


def run(setting: Setting) -> Result:
    """Draw masks in every way from several seeds."""
    result = Result(
        f"RISE against its limit; faithfulness against the standard error over {PROBE} images",
        f"orthogonal masks, the default, as good as at least {_GAIN} times as many independent ones",
    )
    for network in networks(setting, result):
        for row in _rows(setting, network):
            result.add(network=network.name, accuracy=network.accuracy, **row)
    return result


def _rows(setting: Setting, network: Trained) -> Iterator[dict[str, object]]:
    count, seeds = setting.size(cpu=12, gpu=64, quick=2), setting.size(cpu=3, gpu=8, quick=2)
    most = setting.size(cpu=512, gpu=2048, quick=128)
    few = network.first(count)
    limit = _limit(few, setting.size(cpu=4096, gpu=1 << 15, quick=256))
    exact = scores_of_maps(few, limit)
    independent = 0.0
    for way in _WAYS:
        drawn = [_Scores.of(few, way.draw(most, seed)) for seed in range(seeds)]
        for name, estimate in way.estimates.items():
            for number in (most, most // 2, most // 4):
                maps = torch.stack([estimate(*scores.first(number)).view_as(limit) for scores in drawn])
                found = errors(maps, limit)
                if not independent:
                    independent = found.mean_square * number
                equal = independent / found.mean_square
                yield {
                    "sampling": name,
                    "masks": number,
                    **found.columns(),
                    "as_many_independent": equal,
                    "faithfulness_rms_share": _faithfulness_off(few, maps, exact) if number == most else None,
                    **(
                        {"met": setting.quick or equal >= _GAIN * most}
                        if name == "orthogonal" and number == most
                        else {}
                    ),
                }


def _faithfulness_off(network: Trained, maps: Tensor, exact: Tensor) -> float:
    """Return how far a mean is off by maps (draws, n, H, W), as a share of its standard error."""
    off = torch.cat([scores_of_maps(network, one) - exact for one in maps])
    image = torch.arange(len(exact), device=off.device) if network.group is None else network.group
    return float(of_a_mean(off, image.repeat(len(maps))) / exact.std()) * PROBE**0.5


def _limit(network: Trained, masks: int) -> Tensor:
    rise = RISE(num_masks=masks, grid=_GRID, seed=_LIMIT_SEED)
    return rise(Classifier(network.model, chunk_size=64, channels_last=True), network.images, network.target)


@dataclass(frozen=True)
class _Scores:
    """Probabilities (n, m) of n images seen through masks (m, pixels)."""

    probabilities: Tensor
    masks: Tensor

    @classmethod
    def of(cls, network: Trained, drawn: _Drawn) -> _Scores:
        images, target = network.images, network.target
        masks = masks_of_cells(*(part.to(images.device) for part in drawn), (images.shape[2], images.shape[3]))
        classifier = Classifier(network.model, chunk_size=64, channels_last=True)
        rows = [
            classifier.evaluate(
                len(masks),
                lambda chunk, image=image: image * masks[chunk, None],  # type: ignore[misc]
                lambda logits, _, label=label: classifier.select(logits, label.expand(len(logits)), "probability"),  # type: ignore[misc]
            )
            for image, label in zip(images, target, strict=True)
        ]
        return cls(torch.stack(rows), masks.flatten(1))

    def first(self, number: int) -> tuple[Tensor, Tensor]:
        return self.probabilities[:, :number], self.masks[:number]


def _published(scores: Tensor, masks: Tensor) -> Tensor:
    return scores @ masks / (len(masks) * 0.5)


def _centred(scores: Tensor, masks: Tensor) -> Tensor:
    """Return ``f̄ + Σ (f − f̄) M / ((N − 1) p)``: the sample covariance, unbiased as well."""
    mean = scores.mean(1, keepdim=True)
    return mean + (scores - mean) @ masks / ((len(masks) - 1) * 0.5)


def _by_coverage(scores: Tensor, masks: Tensor) -> Tensor:
    """Return ``Σ f M / Σ M``: a ratio, off by O(1/N)."""
    return scores @ masks / masks.sum(0).clamp(min=1e-6)


def _independent(count: int, seed: int) -> _Drawn:
    return independent_cells(torch.arange(count), _GRID, 0.5, seed=seed)


def _orthogonal(count: int, seed: int) -> _Drawn:
    return orthogonal_cells(torch.arange(count), _GRID, 0.5, seed=seed)


def _complements(count: int, seed: int) -> _Drawn:
    """Return masks and what they leave out, in turn, both cut at one place."""
    kept, places = _independent(count // 2, seed)
    return torch.stack([kept, ~kept], 1).flatten(0, 1), places.repeat_interleave(2, 0)


def _balanced(count: int, seed: int) -> _Drawn:
    """Return masks of which every 64 keep each cell 32 times (Latin hypercube)."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [torch.rand(_BALANCED, _GRID**2, generator=generator).argsort(0) for _ in range(count // _BALANCED)]
    return torch.cat(blocks) < _BALANCED // 2, torch.rand(count, 2, generator=generator)


def _sobol(count: int, seed: int) -> _Drawn:
    drawn = torch.quasirandom.SobolEngine(_GRID**2 + 2, scramble=True, seed=seed).draw(count)
    return drawn[:, 2:] < 0.5, drawn[:, :2]


@dataclass(frozen=True)
class _Way:
    draw: Callable[[int, int], _Drawn]
    estimates: dict[str, _Estimate]


_WAYS = (
    _Way(
        _independent,
        {
            "independent": _published,
            "independent, mean subtracted": _centred,
            "independent / coverage": _by_coverage,
        },
    ),
    _Way(_complements, {"complements": _published}),
    _Way(_balanced, {"balanced cells": _published, "balanced cells, mean subtracted": _centred}),
    _Way(_sobol, {"Sobol": _published}),
    _Way(_orthogonal, {"orthogonal": _published}),
)
