"""Perturbation explainers beside as many raw forward passes of a batch that is ready."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.evaluations import forwards
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import LIME, RISE, Classifier, Explainer, KernelSHAP, Occlusion

LIMIT = 1.15
PROMISED = (RISE, Occlusion)


def run(setting: Setting) -> Result:
    """Measure each explainer from images to heatmaps: masks, masked images, forwards, sums; then captum's Occlusion."""
    result = Result("Perturbation explainers / as many raw forwards", f"RISE and Occlusion at most {LIMIT}x")
    for name in setting.names:
        large = name == "ResNet-50"
        count = setting.size(cpu=1, gpu=4, quick=2)
        chunk = setting.size(cpu=16, gpu=64, quick=8)
        repeats = setting.size(cpu=3 if large else 9, gpu=9, quick=1)
        model, images, target = setting.model(name), setting.images(count), setting.target(count)
        for explainer in explainers(setting, large=large):
            classifier = Classifier(model, chunk_size=chunk)
            explainer(classifier, images, target)
            evaluations = classifier.evaluations
            limit = setting.limit(LIMIT) if isinstance(explainer, PROMISED) else None
            reference = forwards(model, setting.images(chunk), evaluations)
            found = compare(_ours(explainer, model, images, target, chunk), reference, repeats, setting.device)
            result.add(model=name, method=type(explainer).__name__, forwards=evaluations, **ratios(found, limit))
            peer = _captum(explainer, model, images, target, chunk)
            if peer is not None:
                found = compare(peer, reference, repeats, setting.device)
                result.add(model=name, method="captum Occlusion", forwards=evaluations, **ratios(found))
    return result


def explainers(setting: Setting, *, large: bool) -> list[Explainer]:
    """Return the explainers with so many evaluations that a run takes seconds."""
    samples = setting.size(cpu=64 if large else 400, gpu=400, quick=16)
    window, grid = setting.side // (7 if large else 14), 7 if setting.quick else 14
    return [
        RISE(num_masks=samples),
        Occlusion(window=window, stride=window if large or setting.quick else window // 2),
        LIME(grid=grid, num_samples=samples),
        KernelSHAP(grid=grid, num_samples=samples),
    ]


def _ours(explainer: Explainer, model: nn.Module, images: Tensor, target: Tensor, chunk: int) -> Callable[[], Tensor]:
    return lambda: explainer(Classifier(model, chunk_size=chunk), images, target)


def _captum(
    explainer: Explainer, model: nn.Module, images: Tensor, target: Tensor, chunk: int
) -> Callable[[], Tensor] | None:
    """Return captum's Occlusion with the same windows and as many images at a time; None beside another method."""
    if not isinstance(explainer, Occlusion):
        return None
    from captum.attr import Occlusion as Captum

    method = Captum(lambda x: model(x).softmax(1))
    window, stride = (images.shape[1], *2 * (explainer.window,)), (images.shape[1], *2 * (explainer.stride,))

    def heatmaps() -> Tensor:
        with torch.no_grad():
            at_a_time = chunk // len(images)
            return method.attribute(images, window, stride, target=target, perturbations_per_eval=at_a_time)[:, 0]

    return heatmaps
