"""Deletion and insertion curves beside as many raw forward passes of a batch that is ready."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.evaluations import forwards
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import Case, Classifier, MaskingCurve

LIMIT = 1.15
STEPS = 32
_DELETION, _INSERTION = MaskingCurve("deletion", 0.0, STEPS), MaskingCurve("insertion", "blur", STEPS)
CURVES = {"deletion": [_DELETION], "insertion": [_INSERTION], "both": [_DELETION, _INSERTION]}


def run(setting: Setting) -> Result:
    """Measure each curve from images and heatmaps to scores: keys, ranking, baseline, frames, forwards."""
    result = Result(f"Masking curves, {STEPS} steps, random ties / as many raw forwards", f"at most {LIMIT}x")
    for name in setting.names:
        large = name == "ResNet-50"
        count = setting.size(cpu=2 if large else 4, gpu=32, quick=2)
        chunk = setting.size(cpu=16, gpu=32, quick=8)
        repeats = setting.size(cpu=3 if large else 11, gpu=11, quick=1)
        model = setting.model(name)
        for kind, curves in CURVES.items():
            if large and len(curves) > 1 and not setting.on_gpu:
                continue  # minutes, for what the two lines above it say already
            evaluations = count * (1 + STEPS * len(curves))
            reference = forwards(model, setting.images(chunk), evaluations)
            found = compare(_curves(setting, model, count, chunk, curves), reference, repeats, setting.device)
            row = ratios(found, setting.limit(LIMIT))
            result.add(model=name, curve=kind, images=count, chunk=chunk, forwards=evaluations, **row)
    return result


def heatmaps_of(images: Tensor) -> Tensor:
    """Return smooth rectified maps, a part of which is exactly 0 and so tied, as in a Grad-CAM."""
    return nn.functional.avg_pool2d(images[:, 0], 15, stride=1, padding=7).relu()


def _curves(
    setting: Setting, model: nn.Module, count: int, chunk: int, curves: list[MaskingCurve]
) -> Callable[[], None]:
    images, target = setting.images(count), setting.target(count)
    heatmaps = heatmaps_of(images)

    def run() -> None:
        case = Case(Classifier(model, chunk_size=chunk), images, target, heatmaps=heatmaps)
        for curve in curves:
            case[curve]

    return run
