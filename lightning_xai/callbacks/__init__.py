"""When to explain, and what to log."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ExplanationMonitor": "explanation_monitor",
        "Grid": "grid",
        "Sample": "sample",
        "sample_from_batch": "sample",
    },
)
