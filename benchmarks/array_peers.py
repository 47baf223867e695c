"""Areas and max-sensitivity by the packages that take arrays: Quantus and pytorch-grad-cam."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.explained import Explained, captum_cam

_RAW = {"abs": False, "normalise": False, "disable_warnings": True}


def quantus_areas(explained: Explained, steps: int) -> Tensor:
    """Return both areas of captum's maps by two PixelFlippings: each begins where the other one ends."""
    from quantus import PixelFlipping

    images = explained.images.cpu().numpy()
    maps = _without_ties(captum_cam(explained)[:, None].expand_as(explained.images))

    def inserted(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        changed = arr.copy()
        np.put_along_axis(changed, indices, np.take_along_axis(images.reshape(arr.shape), indices, 1), 1)
        return changed

    flip = partial(PixelFlipping, features_in_step=3 * images[0, 0].size // steps, **_RAW)
    given = {"y_batch": explained.target.cpu().numpy(), "a_batch": maps, **_given(explained)}
    deletion = np.asarray(flip(perturb_baseline=0.0)(x_batch=images, **given))
    insertion = np.asarray(flip(perturb_func=inserted)(x_batch=np.zeros_like(images), **given))
    curves = [np.hstack([deletion[:, -1:], insertion]), np.hstack([insertion[:, -1:], deletion])]
    return torch.tensor([np.trapezoid(curve, axis=1).mean() / steps for curve in curves])


def quantus_sensitivity(explained: Explained, radius: float, samples: int) -> object:
    """Return Quantus' max-sensitivity of captum's maps."""
    from quantus import MaxSensitivity

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:  # noqa: ARG001
        images = torch.as_tensor(inputs, dtype=torch.float32, device=explained.images.device)
        return captum_cam(explained.of(images))[:, None].cpu().numpy()

    images, target = explained.images.cpu().numpy(), explained.target.cpu().numpy()
    metric = MaxSensitivity(nr_samples=samples, lower_bound=radius, **_RAW)
    return metric(x_batch=images, y_batch=target, explain_func=explain, **_given(explained))


def _given(explained: Explained) -> dict[str, Any]:
    device = str(explained.images.device)
    return {"model": explained.model, "softmax": True, "channel_first": True, "device": device}


def pytorch_grad_cam(explained: Explained) -> Tensor:
    """Return pytorch-grad-cam's maps."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(index) for index in explained.target.tolist()]
    layers = [explained.layer]
    with torch.enable_grad(), GradCAM(explained.model, layers) as method, redirect_stderr(StringIO()):
        return torch.from_numpy(method(explained.images, targets)).to(explained.images.device)


def pytorch_grad_cam_areas(explained: Explained, steps: int) -> Tensor:
    """Return both areas of its own maps, as means over percentiles in the middles of equal parts."""
    from pytorch_grad_cam.metrics.perturbation_confidence import (
        PerturbationConfidenceMetric,
        RemoveLeastRelevantFirst,
        RemoveMostRelevantFirst,
    )
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    maps = _without_ties(pytorch_grad_cam(explained))
    targets = [ClassifierOutputSoftmaxTarget(index) for index in explained.target.tolist()]

    def area(remove: Callable[..., Any]) -> float:
        """Return the mean over the shares that are kept; the maps are ranks, most relevant last."""
        scores = [
            PerturbationConfidenceMetric(remove(100 * (k + 0.5) / steps, torch.mul))(
                explained.images, maps, targets, explained.model, return_diff=False
            )
            for k in range(steps)
        ]
        return float(np.mean(scores))

    return torch.tensor([area(RemoveLeastRelevantFirst), area(RemoveMostRelevantFirst)])


def _without_ties(maps: Tensor) -> np.ndarray:
    """Return values in (0, 1) in the maps' order, equal ones in that of their pixel and channel, float64."""
    flat = maps.flatten(1)
    if maps.ndim == 4:  # the channels of a pixel stay together
        flat = maps.flatten(2).transpose(1, 2).flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1).double()
    if maps.ndim == 4:
        ranks = ranks.unflatten(1, (-1, maps.shape[1])).transpose(1, 2)
    return (1.0 - (ranks + 0.5) / flat.shape[1]).reshape(maps.shape).cpu().numpy()
