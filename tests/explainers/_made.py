"""Explainers as the contract tests make them: few samples where there are samples, references where they are needed."""

from __future__ import annotations

import torch

from lightning_xai import get_explainer

FEW: dict[str, dict[str, object]] = {
    "expected_grad_cam": {"num_samples": 4},
    "expected_gradients": {"num_samples": 5},
    "information_bottleneck": {"num_steps": 3, "num_copies": 2, "min_std": 0.3},
    "integrated_grad_cam": {"num_steps": 4},
    "integrated_gradients": {"num_steps": 6},
    "kernel_shap": {"grid": 3, "num_samples": 30},
    "lime": {"grid": 3, "num_samples": 20},
    "occlusion": {"window": 8, "stride": 8},
    "rise": {"num_masks": 20},
    "smooth_grad": {"num_samples": 4},
    "smooth_grad_cam_plus_plus": {"num_samples": 4},
}
"""Alias -> settings that keep a slow explainer quick."""


def references(channels=3, size=(16, 12), count=6):
    generator = torch.Generator().manual_seed(100 + channels)
    return torch.randn(count, channels, *size, generator=generator)


def made(alias, channels=3, size=(16, 12)):
    """Return the explainer for images (N, channels, *size)."""
    return supplied(get_explainer(alias, **FEW.get(alias, {})), channels, size)


def supplied(explainer, channels=3, size=(16, 12)):
    """Return the explainer with reference images if it needs any."""
    return explainer.with_references(references(channels, size))
