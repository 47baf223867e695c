"""Explainers by alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_xai._registry import Registry

if TYPE_CHECKING:
    from lightning_xai.explainers.explainer import Explainer

EXPLAINERS: Registry[Explainer] = Registry(
    "explainer",
    "lightning_xai.explainers",
    "lightning_xai.explainers.explainer:Explainer",
    {
        "ablation_cam": "cam.ablation_cam:AblationCAM",
        "attention_rollout": "transformer.attention_rollout:AttentionRollout",
        "cam": "cam.cam:CAM",
        "captum_explainer": "gradient.captum_explainer:CaptumExplainer",
        "center_heatmap": "controls.center_heatmap:CenterHeatmap",
        "deep_lift": "gradient.deep_lift:DeepLift",
        "eigen_cam": "cam.eigen_cam:EigenCAM",
        "expected_grad_cam": "cam.expected_grad_cam:ExpectedGradCAM",
        "expected_gradients": "gradient.expected_gradients:ExpectedGradients",
        "fake_cam": "controls.fake_cam:FakeCAM",
        "grad_cam": "cam.grad_cam:GradCAM",
        "grad_cam_plus_plus": "cam.grad_cam_plus_plus:GradCAMPlusPlus",
        "guided_backprop": "gradient.guided_backprop:GuidedBackprop",
        "guided_grad_cam": "gradient.guided_grad_cam:GuidedGradCAM",
        "hires_cam": "cam.hires_cam:HiResCAM",
        "information_bottleneck": "information.information_bottleneck:InformationBottleneck",
        "input_x_gradient": "gradient.input_x_gradient:InputXGradient",
        "integrated_grad_cam": "cam.integrated_grad_cam:IntegratedGradCAM",
        "integrated_gradients": "gradient.integrated_gradients:IntegratedGradients",
        "kernel_shap": "perturbation.kernel_shap:KernelSHAP",
        "layer_cam": "cam.layer_cam:LayerCAM",
        "lime": "perturbation.lime:LIME",
        "lrp": "gradient.lrp:LRP",
        "occlusion": "perturbation.occlusion:Occlusion",
        "random_heatmap": "controls.random_heatmap:RandomHeatmap",
        "rise": "perturbation.rise:RISE",
        "saliency": "gradient.saliency:Saliency",
        "score_cam": "cam.score_cam:ScoreCAM",
        "smooth_grad": "gradient.smooth_grad:SmoothGrad",
        "smooth_grad_cam_plus_plus": "cam.smooth_grad_cam_plus_plus:SmoothGradCAMPlusPlus",
        "transformer_attribution": "transformer.transformer_attribution:TransformerAttribution",
        "xgrad_cam": "cam.xgrad_cam:XGradCAM",
    },
)
"""The one list of explainers; names, hints, stubs and documentation are derived from it."""


def list_explainers(family: str | None = None) -> list[str]:
    """Return the aliases of the built-in explainers, sorted.

    Args:
        family: Only these, such as ``"cam"`` or ``"transformer"``.

    Example:
        >>> list_explainers("controls")
        ['center_heatmap', 'fake_cam', 'random_heatmap']
    """
    return EXPLAINERS.names(family)


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
    explainer: Explainer = EXPLAINERS.load(name)(**settings)
    return explainer
