"""torchmetrics classes, one number per file, foldered by property."""

from lightning_xai._lazy import lazy_names
from lightning_xai.metrics.registry import METRICS

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        **METRICS.public_names,
        "Estimate": "estimate",
        "ExplanationMetric": "metric",
        "MetricOptions": "metric",
        "MetricSuite": "suite",
        "get_metric": "registry",
        "list_metrics": "registry",
        "standard_error": "estimate",
    },
)
