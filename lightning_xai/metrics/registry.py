"""Metrics by alias."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from lightning_xai._registry import Registry
from lightning_xai.metrics.metric import ExplanationMetric

MetricAlias: TypeAlias = Literal[
    "abpc",
    "adcc",
    "adversarial_stability",
    "aopc",
    "attribution_localization",
    "average_drop",
    "average_gain",
    "average_increase",
    "avg_sensitivity",
    "binarized_precision",
    "box_localization",
    "completeness",
    "complexity",
    "contrastivity",
    "deletion_auc",
    "effective_complexity",
    "efficient_parameter_randomization",
    "explainer_agreement",
    "explanation_time",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "fidelity",
    "haas",
    "heatmap_drift",
    "infidelity",
    "insertion_auc",
    "insertion_deletion",
    "irof",
    "local_accuracy",
    "local_lipschitz",
    "localization_auc",
    "max_sensitivity",
    "monotonicity",
    "monotonicity_correlation",
    "occlusion_correlation",
    "one_pixel_sensitivity",
    "parameter_randomization",
    "pixel_flipping",
    "pointing_game",
    "pointing_game_recall",
    "random_logit",
    "relative_faithfulness",
    "relative_input_stability",
    "relative_output_stability",
    "relative_representation_stability",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "road",
    "saturation",
    "selectivity",
    "sensitivity_n",
    "sparseness",
    "sufficiency",
    "sufficient_pixels",
    "top_k_intersection",
    "transform_consistency",
]

_registry = Registry(
    "metric",
    "lightning_xai.metrics",
    {
        "abpc": "faithfulness.abpc:ABPC",
        "adcc": "faithfulness.adcc:ADCC",
        "adversarial_stability": "robustness.adversarial_stability:AdversarialStability",
        "aopc": "faithfulness.aopc:AOPC",
        "attribution_localization": "localization.attribution_localization:AttributionLocalization",
        "average_drop": "faithfulness.average_drop:AverageDrop",
        "average_gain": "faithfulness.average_gain:AverageGain",
        "average_increase": "faithfulness.average_increase:AverageIncrease",
        "avg_sensitivity": "robustness.avg_sensitivity:AvgSensitivity",
        "binarized_precision": "localization.binarized_precision:BinarizedPrecision",
        "box_localization": "localization.box_localization:BoxLocalization",
        "completeness": "faithfulness.completeness:Completeness",
        "complexity": "complexity.complexity:Complexity",
        "contrastivity": "randomization.contrastivity:Contrastivity",
        "deletion_auc": "faithfulness.deletion_auc:DeletionAUC",
        "effective_complexity": "complexity.effective_complexity:EffectiveComplexity",
        "efficient_parameter_randomization": (
            "randomization.efficient_parameter_randomization:EfficientParameterRandomization"
        ),
        "explainer_agreement": "agreement.explainer_agreement:ExplainerAgreement",
        "explanation_time": "cost.explanation_time:ExplanationTime",
        "faithfulness_correlation": "faithfulness.faithfulness_correlation:FaithfulnessCorrelation",
        "faithfulness_estimate": "faithfulness.faithfulness_estimate:FaithfulnessEstimate",
        "fidelity": "faithfulness.fidelity:Fidelity",
        "haas": "faithfulness.haas:HAAS",
        "heatmap_drift": "robustness.heatmap_drift:HeatmapDrift",
        "infidelity": "faithfulness.infidelity:Infidelity",
        "insertion_auc": "faithfulness.insertion_auc:InsertionAUC",
        "insertion_deletion": "faithfulness.insertion_deletion:InsertionDeletion",
        "irof": "faithfulness.irof:IROF",
        "local_accuracy": "faithfulness.local_accuracy:LocalAccuracy",
        "local_lipschitz": "robustness.local_lipschitz:LocalLipschitz",
        "localization_auc": "localization.localization_auc:LocalizationAUC",
        "max_sensitivity": "robustness.max_sensitivity:MaxSensitivity",
        "monotonicity": "faithfulness.monotonicity:Monotonicity",
        "monotonicity_correlation": "faithfulness.monotonicity_correlation:MonotonicityCorrelation",
        "occlusion_correlation": "agreement.occlusion_correlation:OcclusionCorrelation",
        "one_pixel_sensitivity": "robustness.one_pixel_sensitivity:OnePixelSensitivity",
        "parameter_randomization": "randomization.parameter_randomization:ParameterRandomization",
        "pixel_flipping": "faithfulness.pixel_flipping:PixelFlipping",
        "pointing_game": "localization.pointing_game:PointingGame",
        "pointing_game_recall": "localization.pointing_game_recall:PointingGameRecall",
        "random_logit": "randomization.random_logit:RandomLogit",
        "relative_faithfulness": "faithfulness.relative_faithfulness:RelativeFaithfulness",
        "relative_input_stability": "robustness.relative_input_stability:RelativeInputStability",
        "relative_output_stability": "robustness.relative_output_stability:RelativeOutputStability",
        "relative_representation_stability": (
            "robustness.relative_representation_stability:RelativeRepresentationStability"
        ),
        "relevance_mass_accuracy": "localization.relevance_mass_accuracy:RelevanceMassAccuracy",
        "relevance_rank_accuracy": "localization.relevance_rank_accuracy:RelevanceRankAccuracy",
        "road": "faithfulness.road:ROAD",
        "saturation": "cost.saturation:Saturation",
        "selectivity": "faithfulness.selectivity:Selectivity",
        "sensitivity_n": "faithfulness.sensitivity_n:SensitivityN",
        "sparseness": "complexity.sparseness:Sparseness",
        "sufficiency": "faithfulness.sufficiency:Sufficiency",
        "sufficient_pixels": "complexity.sufficient_pixels:SufficientPixels",
        "top_k_intersection": "localization.top_k_intersection:TopKIntersection",
        "transform_consistency": "robustness.transform_consistency:TransformConsistency",
    },
)


def list_metrics(family: str | None = None) -> list[str]:
    """Return the aliases of the built-in metrics, sorted.

    Args:
        family: Only these: ``"faithfulness"``, ``"robustness"``, ``"localization"``, ``"complexity"``,
            ``"randomization"``, ``"agreement"`` or ``"cost"``.

    Example:
        >>> list_metrics("complexity")
        ['complexity', 'effective_complexity', 'sparseness', 'sufficient_pixels']
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
