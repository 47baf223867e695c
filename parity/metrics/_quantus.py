"""How Quantus is asked: arrays in, one value or one curve per image out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_xai import Explainer

RAW = {"abs": False, "normalise": False, "disable_warnings": True}
"""Settings of every Quantus metric that leave a heatmap as it is, which ours always do."""


def scored(
    metric: Any,
    images: Tensor,
    target: Tensor,
    *,
    heatmaps: Tensor | None = None,
    masks: Tensor | None = None,
    explainer: Explainer | None = None,
    **others: Any,
) -> np.ndarray:
    """Return what a metric of Quantus says about each image, with a heatmap that all channels share."""
    given = {"model": None, "channel_first": True, **others}
    if masks is not None:
        given["s_batch"] = masks[:, None].numpy()
    if explainer is not None:
        given["explain_func"] = explained_by(explainer)
    given["a_batch"] = None if heatmaps is None else heatmaps[:, None].double().numpy()
    return np.asarray(metric(x_batch=images.numpy().copy(), y_batch=target.numpy(), **given))


def explained_by(explainer: Explainer) -> Callable[..., np.ndarray]:
    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        # MPRT hands over its own wrapper the first time
        module = model if isinstance(model, torch.nn.Module) else model.get_model()
        return explainer(module, torch.as_tensor(inputs).float(), torch.as_tensor(targets))[:, None].double().numpy()

    return explain


def shaken_by(draw: Callable[[int], Tensor]) -> Callable[..., np.ndarray]:
    """Return a ``perturb_func`` that adds ``draw(0)``, ``draw(1)``, ... (N, C, H, W) to the images, call by call."""
    calls = iter(range(10**6))

    def perturb(arr: np.ndarray, **_: Any) -> np.ndarray:
        return arr + draw(next(calls)).numpy().reshape(arr.shape)

    return perturb
