"""Explanation quality as a training metric, for PyTorch Lightning."""

from lightning_xai._lazy import lazy_names
from lightning_xai.comparison.transforms.registry import TRANSFORMS
from lightning_xai.explainers.registry import EXPLAINERS
from lightning_xai.metrics.registry import METRICS

__version__ = "0.1.0"

_LAYERS = {
    "callbacks": ("ExplanationCheckpoint", "ExplanationEarlyStopping", "ExplanationMonitor", "JointEarlyStopping"),
    "comparison": ("Comparison", "ComparisonTable", "Transform", "get_transform", "list_transforms"),
    "datasets": ("ChestXraysDataset", "FashionCanvases", "PastedPhotographs", "SamplePhotographs", "ShapesDataset"),
    "evidence": ("Case", "Evidence", "MaskingCurve", "Neighbourhood"),
    "explainers": ("Explainer", "Normalized", "get_explainer", "list_explainers"),
    "metrics": ("Estimate", "ExplanationMetric", "MetricSuite", "get_metric", "list_metrics"),
    "model": ("Classifier", "Readout", "preserved"),
    "reports": (
        "AccuracyAlignment",
        "Breakdown",
        "Failures",
        "Filmstrip",
        "Grid",
        "History",
        "HtmlReport",
        "ImageTable",
        "Maps",
        "Report",
        "Scalars",
        "compare_runs",
        "load_run",
        "write_report",
    ),
    "probing": ("Explained", "ExplainedEpoch", "ImageScores", "Sample", "ShortcutAlarm", "difference"),
}

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(EXPLAINERS.public_names, "explainers"),
        **dict.fromkeys(METRICS.public_names, "metrics"),
        **dict.fromkeys(TRANSFORMS.public_names, "comparison"),
        **{name: layer for layer, names in _LAYERS.items() for name in names},
    },
)
