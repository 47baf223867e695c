"""(model, images, target) -> heatmaps; one method per file, foldered by family."""

from lightning_xai._lazy import lazy_names
from lightning_xai.explainers.registry import EXPLAINERS

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        **EXPLAINERS.public_names,
        "AttentionExplainer": "transformer.attention_explainer",
        "Explainer": "explainer",
        "LayerExplainer": "cam.layer_explainer",
        "LayerView": "cam.layer_explainer",
        "Normalized": "normalized",
        "ReferenceExplainer": "reference_explainer",
        "get_explainer": "registry",
        "list_explainers": "registry",
    },
)
