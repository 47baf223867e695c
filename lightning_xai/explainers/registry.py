"""Explainers by alias."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from lightning_xai._registry import Registry
from lightning_xai.explainers.explainer import Explainer

ExplainerAlias: TypeAlias = Literal[
    "attention_rollout",
    "cam",
    "center_heatmap",
    "fake_cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "layer_cam",
    "random_heatmap",
    "transformer_attribution",
    "xgrad_cam",
]

_registry = Registry(
    "explainer",
    "lightning_xai.explainers",
    {
        "attention_rollout": "transformer.attention_rollout:AttentionRollout",
        "cam": "cam.cam:CAM",
        "center_heatmap": "controls.center_heatmap:CenterHeatmap",
        "fake_cam": "controls.fake_cam:FakeCAM",
        "grad_cam": "cam.grad_cam:GradCAM",
        "grad_cam_plus_plus": "cam.grad_cam_plus_plus:GradCAMPlusPlus",
        "hires_cam": "cam.hires_cam:HiResCAM",
        "layer_cam": "cam.layer_cam:LayerCAM",
        "random_heatmap": "controls.random_heatmap:RandomHeatmap",
        "transformer_attribution": "transformer.transformer_attribution:TransformerAttribution",
        "xgrad_cam": "cam.xgrad_cam:XGradCAM",
    },
)


def list_explainers(family: str | None = None) -> list[str]:
    """Return the aliases of the built-in explainers, sorted.

    Args:
        family: Only these, such as ``"cam"`` or ``"transformer"``.

    Example:
        >>> list_explainers("controls")
        ['center_heatmap', 'fake_cam', 'random_heatmap']
    """
    return _registry.names(family)


def get_explainer(name: str, **settings: Any) -> Explainer:
    """Return a new explainer by its alias.

    Args:
        name: One of `list_explainers`.
        **settings: Arguments of its constructor.

    Raises:
        ValueError: If the alias is unknown; lists the known ones and the nearest match.

    Example:
        >>> get_explainer("grad_cam", target_layer="layer4")
        GradCAM(target_layer='layer4', relu=True)
    """
    explainer: Explainer = _registry.load(name)(**settings)
    return explainer
