"""Peak memory of a masking curve over its number of steps."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.curve_cost import heatmaps_of
from benchmarks.live_bytes import peak_bytes
from benchmarks.result import Result
from benchmarks.setting import Setting
from lightning_xai import Case, Classifier, MaskingCurve

STEPS = (8, 32, 128)
_TOLERANCE = 1.02  # scores and step counts, a few bytes per step


def run(setting: Setting) -> Result:
    """Measure the peak of the tensors that a curve makes, beside that of one forward of a ready chunk."""
    result = Result("Masking curve: peak memory over the number of steps", "does not grow with the steps")
    name = setting.names[0]
    count, chunk = setting.size(cpu=8, gpu=32, quick=2), setting.size(cpu=8, gpu=32, quick=2)
    model, images = setting.model(name), setting.images(count)
    classifier, heatmaps, batch = Classifier(model, chunk_size=chunk), heatmaps_of(images), setting.images(chunk)

    def forward() -> Tensor:
        with torch.no_grad():
            return model(batch)

    plain = peak_bytes(forward, setting.device) / 2**20
    peaks: list[float] = []
    for steps in STEPS:

        def curve(steps: int = steps) -> Tensor:
            case = Case(classifier, images, setting.target(count), heatmaps=heatmaps)
            return case[MaskingCurve("insertion", "blur", steps)]

        peaks.append(peak_bytes(curve, setting.device) / 2**20)
        result.add(
            model=name,
            images=count,
            chunk=chunk,
            num_steps=steps,
            frames_MiB=count * steps * images[0].nbytes / 2**20,
            forward_peak_MiB=plain,
            curve_peak_MiB=peaks[-1],
            met=peaks[-1] <= _TOLERANCE * peaks[0],
        )
    return result
