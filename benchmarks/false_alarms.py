"""How often chance alone raises the shortcut alarm, and how often heat beside the object does: simulated fits.

Twelve explanations of one model whose accuracy rises. The heat of an image on its object and on the border, and its
gain, lie around levels of that image; all wander, and what an explanation adds persists into the next ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.false_stops import persistent
from benchmarks.result import Result
from benchmarks.setting import Setting
from lightning_xai import ShortcutAlarm
from lightning_xai.metrics import InsertionDeletion
from lightning_xai.probing import Explained, ExplainedEpoch
from lightning_xai.probing.decisions.shortcut import shortcut_decisions
from lightning_xai.probing.shortcut_alarm import AREA, BORDER, CENTER, OBJECT
from lightning_xai.probing.validation import Accuracy

EXPLANATIONS = 12
PERSISTENCE = 0.8
OBJECT_AREA, OBJECT_CENTER, BORDER_AREA = 0.11, 0.25, 0.23
HEAT_SPREAD, GAIN, GAIN_SPREAD, GAIN_NOISE = 0.12, 0.3, 0.2, 0.1
ACCURACY = 0.7, 0.93  # at the beginning and at the end, of 256 images
_ON_BORDER = 0.1
_CASES = (
    *((32, 0.27, _ON_BORDER), (32, 0.2, _ON_BORDER), (16, 0.27, _ON_BORDER), (16, 0.2, _ON_BORDER)),
    *((8, 0.27, _ON_BORDER), (8, 0.2, _ON_BORDER), (32, 0.27, BORDER_AREA)),
    *((32, 0.1, _ON_BORDER), (16, 0.1, _ON_BORDER), (8, 0.1, _ON_BORDER)),
)  # images, heat on the object, heat on the border


def simulated(seed: int, images: int, on_object: float, on_border: float = _ON_BORDER) -> list[ExplainedEpoch]:
    """Return the explained epochs of a fit.

    Args:
        seed: Of all that is drawn.
        images: In the probe.
        on_object: Mean share of the heat on an object of area .11, on which a heatmap of the centre has .25.
        on_border: Mean share of the heat on a border of area .23.
    """
    generator = torch.Generator().manual_seed(seed)

    def shares(mean: float) -> Tensor:
        drawn = torch.randn(EXPLANATIONS, images, generator=generator)
        return (mean + HEAT_SPREAD * persistent(drawn, PERSISTENCE)).clamp(0, 1)

    level = GAIN + GAIN_SPREAD * torch.randn(images, generator=generator)
    noise = torch.randn(EXPLANATIONS, images, generator=generator)
    gains = level + GAIN_NOISE * persistent(noise, PERSISTENCE)
    objects, borders = shares(on_object), shares(on_border)
    return [_epoch(i, gains[i], {OBJECT: objects[i], BORDER: borders[i]}) for i in range(EXPLANATIONS)]


def _epoch(number: int, gain: Tensor, heat: dict[str, Tensor]) -> ExplainedEpoch:
    zeros, images = torch.zeros(len(gain)), torch.zeros(len(gain), dtype=torch.int64)
    early, late = ACCURACY
    share = number / (EXPLANATIONS - 1)
    found = Explained(
        keys=torch.arange(len(gain)),
        labels=images,
        target=images,
        predicted=images,
        probabilities=torch.zeros(len(gain), 0),
        rows={"cam": {"faithfulness": gain}},
        control_rows={"faithfulness": zeros},
        metrics={"faithfulness": InsertionDeletion()},
        heat_shares={"cam": heat},
        chance_shares={
            AREA: {OBJECT: zeros + OBJECT_AREA, BORDER: zeros + BORDER_AREA},
            CENTER: {OBJECT: zeros + OBJECT_CENTER, BORDER: zeros + BORDER_AREA},
        },
        accuracy=Accuracy(early + share * (late - early), 256, 0.25),
    )
    return ExplainedEpoch(number, number, "fit", {}, {0: found})


def raised(epochs: list[ExplainedEpoch]) -> set[str]:
    """Return the causes that raise the alarm at some explanation of a fit."""
    ends = range(1, len(epochs) + 1)
    return {one.cause for end in ends for one in shortcut_decisions(epochs[:end], ShortcutAlarm(), "cam") if one.raised}


def run(setting: Setting) -> Result:
    """Count the fits in which each cause raises it."""
    count = setting.size(cpu=200, gpu=200, quick=2)
    result = Result(
        f"Simulated fits of {EXPLANATIONS} explanations in which a cause raises the shortcut alarm, by images and by "
        f"the heat on an object of area {OBJECT_AREA} and on a border of area {BORDER_AREA}"
    )
    for images, on_object, on_border in _CASES:
        found = [raised(simulated(seed, images, on_object, on_border)) for seed in range(count)]
        shares = {cause: f"{sum(cause in one for one in found) / count:.1%}" for cause in (OBJECT, BORDER)}
        apart = sum(any(cause.startswith("apart") for cause in one) for one in found) / count
        result.add(images=images, on_object=on_object, on_border=on_border, fits=count, **shares, apart=f"{apart:.1%}")
    return result
