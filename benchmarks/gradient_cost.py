"""Gradient explainers beside the same methods of captum, with equal steps, samples and images at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import (
    DeepLift,
    ExpectedGradients,
    Explainer,
    GuidedBackprop,
    GuidedGradCAM,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)

LIMIT = 1.1
Attribute = Callable[[Tensor, Tensor], Tensor]


def run(setting: Setting) -> Result:
    """Measure ours, checks and reduction included; what captum cannot do with a network is left out."""
    result = Result("Gradient explainers / the same by captum", f"ours at most {LIMIT}x")
    for name in setting.names:
        large = name == "ResNet-50"
        count = setting.size(cpu=1 if large else 8, gpu=32, quick=2)
        repeats = setting.size(cpu=5, gpu=15, quick=1)
        model, images, target = setting.model(name), setting.images(count), setting.target(count)
        for explainer, attribute in pairs(model, setting, reused=large):
            ours = _ours(explainer, model, images, target)
            found = compare(ours, _captum(attribute, images, target), repeats, setting.device)
            result.add(model=name, images=count, method=type(explainer).__name__, **ratios(found, setting.limit(LIMIT)))
    return result


def pairs(model: nn.Module, setting: Setting, *, reused: bool) -> list[tuple[Explainer, Attribute]]:
    """Return our explainers, each with captum's attribution; ``reused``: a module of the model is used twice."""
    from captum import attr

    steps = setting.size(cpu=4, gpu=50, quick=2)
    references = setting.images(4)
    integrated, shap = attr.IntegratedGradients(model), attr.GradientShap(model)
    smooth = attr.NoiseTunnel(attr.Saliency(model))
    found: list[tuple[Explainer, Attribute]] = [
        (Saliency(), attr.Saliency(model).attribute),
        (InputXGradient(), attr.InputXGradient(model).attribute),
        (
            IntegratedGradients(steps),
            lambda x, t: integrated.attribute(x, target=t, n_steps=steps, internal_batch_size=len(x)),
        ),
        (
            SmoothGrad(steps),
            lambda x, t: smooth.attribute(
                x, nt_samples=steps, nt_samples_batch_size=1, stdevs=1.2, target=t, abs=False
            ),
        ),
        (
            ExpectedGradients(references, steps),
            lambda x, t: sum(shap.attribute(x, references, n_samples=1, target=t) for _ in range(steps)),
        ),
        (GuidedBackprop(), attr.GuidedBackprop(model).attribute),
    ]
    if not reused:
        convolution = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)][-1]
        guided = attr.GuidedGradCam(model, convolution)
        found += [
            (DeepLift(), lambda x, t: attr.DeepLift(model).attribute(x, target=t)),
            (GuidedGradCAM(), lambda x, t: guided.attribute(x, t, interpolate_mode="bilinear")),
        ]
    return found


def _ours(explainer: Explainer, model: nn.Module, images: Tensor, target: Tensor) -> Callable[[], Tensor]:
    return lambda: explainer(model, images, target)


def _captum(attribute: Attribute, images: Tensor, target: Tensor) -> Callable[[], Tensor]:
    def heatmaps() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return attribute(images.clone(), target).sum(1).detach()

    return heatmaps
