"""(model, images, target) -> heatmaps; one method per file, foldered by family."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AttentionExplainer": "transformer.attention_explainer",
        "AttentionRollout": "transformer.attention_rollout",
        "CAM": "cam.cam",
        "CenterHeatmap": "controls.center_heatmap",
        "Explainer": "explainer",
        "FakeCAM": "controls.fake_cam",
        "GradCAM": "cam.grad_cam",
        "GradCAMPlusPlus": "cam.grad_cam_plus_plus",
        "HiResCAM": "cam.hires_cam",
        "LayerCAM": "cam.layer_cam",
        "LayerExplainer": "cam.layer_explainer",
        "RandomHeatmap": "controls.random_heatmap",
        "ReferenceExplainer": "reference_explainer",
        "TransformerAttribution": "transformer.transformer_attribution",
        "XGradCAM": "cam.xgrad_cam",
        "get_explainer": "registry",
        "list_explainers": "registry",
    },
)
