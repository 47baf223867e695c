"""Everything that costs model evaluations, computed once and shared by the metrics that read it."""

from lightning_xai._lazy import lazy_names

_WINGS = {
    "masking": {
        "ImputationCurve": "imputation_curve",
        "Masking": "masking",
        "MaskingCurve": "masking_curve",
        "OcclusionReference": "reference_area",
        "RandomControl": "reference_area",
        "ReferenceArea": "reference_area",
        "Refinement": "refinement",
        "SuperpixelCurve": "superpixel_curve",
        "Superpixels": "superpixel_curve",
    },
    "removal": {
        "Drops": "subset_drops",
        "HiddenRegion": "hidden_region",
        "MaskedHeatmap": "masked_heatmap",
        "MaskedImage": "masked_image",
        "OcclusionMap": "occlusion_map",
        "PerturbationResponse": "perturbation_response",
        "Response": "perturbation_response",
        "SetDrops": "set_drops",
        "SubsetDrops": "subset_drops",
    },
    "neighbours": {
        "AdversarialNeighbour": "adversarial_neighbour",
        "Attacked": "adversarial_neighbour",
        "NeighbourOutputs": "neighbour_outputs",
        "Neighbourhood": "neighbourhood",
        "Neighbours": "neighbourhood",
        "OnePixel": "one_pixel_attack",
        "OnePixelAttack": "one_pixel_attack",
        "OnePixelHeatmaps": "one_pixel_attack",
        "OutputChanges": "neighbour_outputs",
        "Scaled": "scaled_images",
        "ScaledImages": "scaled_images",
        "Transformed": "transformed",
        "TransformedMaps": "transformed",
    },
    "models": {
        "BaselineLogits": "logits",
        "ClassHeatmaps": "class_heatmaps",
        "ClassMaps": "class_heatmaps",
        "ExplanationSeconds": "explanation_seconds",
        "Logits": "logits",
        "LoweredLogits": "logits",
        "RandomizedHeatmaps": "randomized_heatmaps",
    },
}

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {"Case": "case", "Evidence": "evidence", "Ranking": "heat", "ranks": "heat"}
    | {"baseline_images": "._baseline", "gaussian_blur": "._baseline"}
    | {name: f"{wing}.{module}" for wing, modules in _WINGS.items() for name, module in modules.items()},
)
