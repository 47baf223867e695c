"""Metrics by alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_xai._registry import Registry

if TYPE_CHECKING:
    from lightning_xai.metrics.metric import ExplanationMetric

METRICS: Registry[ExplanationMetric] = Registry(
    "metric",
    "lightning_xai.metrics",
    "lightning_xai.metrics.metric:ExplanationMetric",
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
        "faithfulness_skill": "faithfulness.faithfulness_skill:FaithfulnessSkill",
        "fidelity": "faithfulness.fidelity:Fidelity",
        "haas": "faithfulness.haas:HAAS",
        "heat_share": "localization.heat_share:HeatShare",
        "heatmap_drift": "robustness.heatmap_drift:HeatmapDrift",
        "infidelity": "faithfulness.infidelity:Infidelity",
        "insertion_auc": "faithfulness.insertion_auc:InsertionAUC",
        "insertion_deletion": "faithfulness.insertion_deletion:InsertionDeletion",
        "insertion_skill": "faithfulness.insertion_skill:InsertionSkill",
        "irof": "faithfulness.irof:IROF",
        "local_accuracy": "faithfulness.local_accuracy:LocalAccuracy",
        "local_lipschitz": "robustness.local_lipschitz:LocalLipschitz",
        "localization_auc": "localization.localization_auc:LocalizationAUC",
        "max_sensitivity": "robustness.max_sensitivity:MaxSensitivity",
        "monotonicity": "faithfulness.monotonicity:Monotonicity",
        "monotonicity_correlation": "faithfulness.monotonicity_correlation:MonotonicityCorrelation",
        "mst_compactness": "complexity.mst_compactness:MSTCompactness",
        "nuisance_mass": "localization.nuisance_mass:NuisanceMass",
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
        "reliance": "localization.reliance:Reliance",
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
    known_as={
        "faithfulness": "insertion_deletion",
        "faithfulness_gain": "insertion_deletion",
        "faithfulness_relative": "relative_faithfulness",
    },
)
"""The one list of metrics; names, functions, hints, stubs, documentation and the default suite are derived from it."""


def list_metrics(family: str | None = None) -> list[str]:
    """Return the aliases of the built-in metrics, sorted.

    Args:
        family: Only these: ``"faithfulness"``, ``"robustness"``, ``"localization"``, ``"complexity"``,
            ``"randomization"``, ``"agreement"`` or ``"cost"``.

    Example:
        >>> list_metrics("complexity")
        ['complexity', 'effective_complexity', 'mst_compactness', 'sparseness', 'sufficient_pixels']
    """
    return METRICS.names(family)


def get_metric(name: str, **settings: Any) -> ExplanationMetric:
    """Return a new metric by its alias.

    Args:
        name: One of `list_metrics`.
        **settings: Arguments of its constructor.

    Raises:
        ValueError: If the alias is unknown; lists the known ones and the nearest match.

    Example:
        >>> get_metric("pointing_game", tolerance=15)
        PointingGame(tolerance=15)
    """
    metric: ExplanationMetric = METRICS.load(name)(**settings)
    return metric
