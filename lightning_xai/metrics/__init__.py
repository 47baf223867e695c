"""torchmetrics classes, one number per file, foldered by property."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AOPC": "faithfulness.aopc",
        "AvgSensitivity": "robustness.avg_sensitivity",
        "BoxLocalization": "localization.box_localization",
        "Complexity": "complexity.complexity",
        "DeletionAUC": "faithfulness.deletion_auc",
        "ExplanationMetric": "metric",
        "HeatmapDrift": "robustness.heatmap_drift",
        "InsertionAUC": "faithfulness.insertion_auc",
        "InsertionDeletion": "faithfulness.insertion_deletion",
        "MaxSensitivity": "robustness.max_sensitivity",
        "MetricSuite": "suite",
        "PixelFlipping": "faithfulness.pixel_flipping",
        "PointingGame": "localization.pointing_game",
        "RelativeFaithfulness": "faithfulness.relative_faithfulness",
        "RelevanceMassAccuracy": "localization.relevance_mass_accuracy",
        "RelevanceRankAccuracy": "localization.relevance_rank_accuracy",
        "Sparseness": "complexity.sparseness",
        "get_metric": "registry",
        "list_metrics": "registry",
        "standard_error": "metric",
    },
)
