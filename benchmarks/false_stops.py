"""How often chance alone stops a run, and how soon a true fall does: `ExplanationEarlyStopping(rule="fall")`.

Scores of images are simulated: each image has a level (standard deviation 0.3), and noise around it in every
explanation (0.2, as measured of `faithfulness_gain`); the whole epoch may fluctuate besides, which no error over images
can see; and both may persist from one explanation to the next.
"""

from __future__ import annotations

import math

import torch

from benchmarks.result import Result
from benchmarks.setting import Setting
from lightning_xai.metrics import InsertionDeletion
from lightning_xai.probing import ImageScores
from lightning_xai.probing.decisions.paired import Explanation
from lightning_xai.probing.decisions.stopping import falls_in_a_row

LEVEL, NOISE = 0.3, 0.2
IMAGES, EXPLANATIONS = 32, 30
FALL_AT = 15


def simulated(
    seed: int,
    explanations: int,
    images: int,
    fluctuation: float,
    persistence: float = 0.0,
    fall: tuple[int, float] | None = None,
) -> list[Explanation]:
    """Return the explanations of a run whose score has no trend.

    Args:
        seed: Of all that is drawn.
        explanations: How many.
        images: In the probe.
        fluctuation: Of the epoch as a whole, in standard errors of one epoch's noise.
        persistence: Correlation of noise and fluctuation with those of the explanation before.
        fall: From which explanation on all images are lower, and by how much.
    """
    generator = torch.Generator().manual_seed(seed)
    level = LEVEL * torch.randn(images, generator=generator)
    noise = NOISE * persistent(torch.randn(explanations, images, generator=generator), persistence)
    common = persistent(torch.randn(explanations, 1, generator=generator), persistence)
    rows = level + noise + fluctuation * NOISE / math.sqrt(images) * common
    if fall is not None:
        rows[fall[0] :] -= fall[1]
    keys, target, metric = torch.arange(images), torch.zeros(images, dtype=torch.int64), InsertionDeletion()
    return [Explanation(epoch, ImageScores(keys, target, one, metric)) for epoch, one in enumerate(rows)]


def run(setting: Setting) -> Result:
    """Count the runs that are stopped, for each patience from one pass over each run."""
    result = Result(
        f"Stopped by chance among {EXPLANATIONS} explanations of {IMAGES} images without a trend; where all scores "
        f"fall at explanation {FALL_AT}, stopped within five"
    )
    count = setting.size(cpu=400, gpu=400, quick=10)
    for fluctuation, persistence in ((0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (0.0, 0.7), (1.0, 0.7)):
        for fall in (None, 0.1, 0.2):
            for num_previous in (None, 3):
                _add(result, count, fluctuation, persistence, fall, num_previous)
    return result


def _add(
    result: Result, count: int, fluctuation: float, persistence: float, fall: float | None, num_previous: int | None
) -> None:
    begins = None if fall is None else (FALL_AT, fall)
    length = EXPLANATIONS if fall is None else FALL_AT + 5
    paths = [
        falls_in_a_row(simulated(seed, length, IMAGES, fluctuation, persistence, begins), num_previous=num_previous)
        for seed in range(count)
    ]
    first = 0 if fall is None else FALL_AT
    stopped = {
        f"patience_{patience}": f"{sum(max(path[first:]) >= patience for path in paths) / count:.1%}"
        for patience in (1, 2, 3)
    }
    result.add(
        fluctuation=fluctuation,
        persistence=persistence,
        fall=fall or "none",
        num_previous=num_previous or "all",
        runs=count,
        **stopped,
    )


def persistent(independent: torch.Tensor, persistence: float) -> torch.Tensor:
    rows = [independent[0]]
    for one in independent[1:]:
        rows.append(persistence * rows[-1] + math.sqrt(1.0 - persistence**2) * one)
    return torch.stack(rows)
