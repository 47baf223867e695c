"""Metrics by alias."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from lightning_xai._registry import Registry
from lightning_xai.metrics.metric import ExplanationMetric

MetricAlias: TypeAlias = Literal[
    "aopc",
    "avg_sensitivity",
    "box_localization",
    "complexity",
    "deletion_auc",
    "heatmap_drift",
    "insertion_auc",
    "insertion_deletion",
    "max_sensitivity",
    "pixel_flipping",
    "pointing_game",
    "relative_faithfulness",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "sparseness",
]

_registry = Registry(
    "metric",
    "lightning_xai.metrics",
    {
        "aopc": "faithfulness.aopc:AOPC",
        "avg_sensitivity": "robustness.avg_sensitivity:AvgSensitivity",
        "box_localization": "localization.box_localization:BoxLocalization",
        "complexity": "complexity.complexity:Complexity",
        "deletion_auc": "faithfulness.deletion_auc:DeletionAUC",
        "heatmap_drift": "robustness.heatmap_drift:HeatmapDrift",
        "insertion_auc": "faithfulness.insertion_auc:InsertionAUC",
        "insertion_deletion": "faithfulness.insertion_deletion:InsertionDeletion",
        "max_sensitivity": "robustness.max_sensitivity:MaxSensitivity",
        "pixel_flipping": "faithfulness.pixel_flipping:PixelFlipping",
        "pointing_game": "localization.pointing_game:PointingGame",
        "relative_faithfulness": "faithfulness.relative_faithfulness:RelativeFaithfulness",
        "relevance_mass_accuracy": "localization.relevance_mass_accuracy:RelevanceMassAccuracy",
        "relevance_rank_accuracy": "localization.relevance_rank_accuracy:RelevanceRankAccuracy",
        "sparseness": "complexity.sparseness:Sparseness",
    },
)


def list_metrics(family: str | None = None) -> list[str]:
    """Return the aliases of the built-in metrics, sorted.

    Args:
        family: Only these: ``"faithfulness"``, ``"robustness"``, ``"localization"`` or ``"complexity"``.

    Example:
        >>> list_metrics("complexity")
        ['complexity', 'sparseness']
    """
    return _registry.names(family)


def get_metric(name: str, **settings: Any) -> ExplanationMetric:
    """Return a new metric by its alias.

    Args:
        name: One of `list_metrics`.
        **settings: Arguments of its constructor.

    Raises:
        ValueError: If the alias is unknown; lists the known ones and the nearest match.

    Example:
        >>> get_metric("insertion_auc", num_steps=16)
        InsertionAUC()
    """
    metric: ExplanationMetric = _registry.load(name)(**settings)
    return metric
