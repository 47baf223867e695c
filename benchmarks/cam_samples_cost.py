"""Class activation maps that evaluate the model many times, beside as many plain forward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.evaluations import evaluations, forwards
from benchmarks.peers import last_features, pytorch_grad_cam_of, torchcam_of
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import (
    AblationCAM,
    Classifier,
    EigenCAM,
    ExpectedGradCAM,
    Explainer,
    IntegratedGradCAM,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
)

LIMIT, HEAD_LIMIT = 1.15, 1.5
_HEADS = 64  # copies of the feature maps at a time in the plain pass of the head


def run(setting: Setting) -> Result:
    """Measure each method; then the same of other packages, where these are installed and have it."""
    target = f"at most {LIMIT}x their forwards; AblationCAM at most {HEAD_LIMIT}x a forward and its head per channel"
    result = Result("Sampled CAM explainers / as many plain no_grad forwards", target)
    for name in setting.names:
        for explainer, count, chunk, repeats, limit in _cases(setting, large=name == "ResNet-50"):
            model, images = setting.model(name), setting.images(count)
            ours = _ours(explainer, model, images, setting.target(count), chunk)
            ours()  # finds the target layer
            alone = isinstance(explainer, AblationCAM)
            number = count if alone else evaluations(model, ours)
            plain = _with_heads(model, images) if alone else forwards(model, setting.images(chunk), number)
            row = {"model": name, "images": count, "forwards": number}
            found = compare(ours, plain, repeats, setting.device)
            result.add(**row, method=type(explainer).__name__, **ratios(found, limit))
            if alone and name == "ResNet-50" and not setting.on_gpu:
                continue  # elsewhere all of the model runs for each of 2,048 channels: an hour
            for package, theirs in _peers(explainer, model, images, setting.target(count), chunk):
                row["forwards"] = evaluations(model, theirs)
                found = compare(theirs, plain, max(repeats // 3, 1), setting.device)
                result.add(**row, method=f"{package} {type(explainer).__name__}", **ratios(found))
    return result


def _cases(setting: Setting, *, large: bool) -> Iterator[tuple[Explainer, int, int, int, float | None]]:
    """Yield each explainer with images, images per forward, repeats and what is promised."""
    count, samples = setting.size(cpu=4 if large else 16, gpu=32, quick=2), setting.size(cpu=8, gpu=25, quick=2)
    repeats, limit = setting.size(cpu=3 if large else 9, gpu=9, quick=1), setting.limit(LIMIT)
    references = setting.images(8)
    yield SmoothGradCAMPlusPlus(num_samples=samples), count, count, repeats, limit
    yield IntegratedGradCAM(num_steps=samples), count, count, repeats, limit
    yield ExpectedGradCAM(references=references, num_samples=samples), count, count, repeats, limit
    one = setting.size(cpu=1, gpu=4, quick=1)
    layer = "layer1.0.conv2" if large and not setting.on_gpu else "auto"  # 64 masks instead of 2,048
    yield ScoreCAM(layer), one, setting.size(cpu=16, gpu=64, quick=8), repeats, limit
    yield AblationCAM(), count, count, repeats, setting.limit(HEAD_LIMIT)
    yield EigenCAM(), count, count, repeats, None


def _ours(explainer: Explainer, model: nn.Module, images: Tensor, target: Tensor, chunk: int) -> Callable[[], Tensor]:
    return lambda: explainer(Classifier(model, chunk_size=chunk), images, target)


def _with_heads(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """Return a plain forward, and one of the layers after the feature maps for every channel without it."""
    layers = list(model.children())
    position = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.AdaptiveAvgPool2d))
    pool, classify = layers[position], layers[-1]

    def run() -> None:
        kept: list[Tensor] = []
        handle = layers[position - 1].register_forward_hook(lambda _, __, output: kept.append(output))
        with torch.no_grad():
            model(images)
            handle.remove()
            for channels in torch.arange(kept[0].shape[1], device=images.device).split(_HEADS // len(images)):
                copies = kept[0].repeat(len(channels), 1, 1, 1)
                copies.unflatten(0, (len(channels), -1))[torch.arange(len(channels)), :, channels] = 0
                classify(pool(copies).flatten(1))

    return run


def _peers(
    explainer: Explainer, model: nn.Module, images: Tensor, target: Tensor, chunk: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the same method of other packages with as many samples and the same layer."""
    name = type(explainer).__name__
    layer = explainer.settings().get("target_layer", "auto")
    module = last_features(model) if layer == "auto" else model.get_submodule(layer)
    if name in ("ScoreCAM", "AblationCAM", "EigenCAM"):
        theirs = pytorch_grad_cam_of(name, model, module, images, target, batch_size=chunk)
        if theirs is not None:
            yield "pytorch-grad-cam", theirs
    if name in ("ScoreCAM", "SmoothGradCAMPlusPlus"):
        settings = {"batch_size": chunk} if name == "ScoreCAM" else {"num_samples": explainer.settings()["num_samples"]}
        theirs = torchcam_of(name.replace("PlusPlus", "pp"), model, module, images, target, **settings)
        if theirs is not None:
            yield "torchcam", theirs
