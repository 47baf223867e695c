"""Every metric as a function of tensors that returns one value per image; each lives in its metric's file."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__ = lazy_names(
    "lightning_xai.metrics",
    {
        "aopc": "faithfulness.aopc",
        "avg_sensitivity": "robustness.avg_sensitivity",
        "box_localization": "localization.box_localization",
        "complexity": "complexity.complexity",
        "deletion_auc": "faithfulness.deletion_auc",
        "heatmap_drift": "robustness.heatmap_drift",
        "insertion_auc": "faithfulness.insertion_auc",
        "insertion_deletion": "faithfulness.insertion_deletion",
        "max_sensitivity": "robustness.max_sensitivity",
        "pixel_flipping": "faithfulness.pixel_flipping",
        "pointing_game": "localization.pointing_game",
        "relative_faithfulness": "faithfulness.relative_faithfulness",
        "relevance_mass_accuracy": "localization.relevance_mass_accuracy",
        "relevance_rank_accuracy": "localization.relevance_rank_accuracy",
        "sparseness": "complexity.sparseness",
    },
)
