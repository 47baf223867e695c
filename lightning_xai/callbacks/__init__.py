"""When to explain, and what to log."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ExplanationCheckpoint": "explanation_checkpoint",
        "ExplanationEarlyStopping": "explanation_early_stopping",
        "ExplanationMonitor": "explanation_monitor",
        "JointEarlyStopping": "joint_early_stopping",
    },
    renamed={
        "Grid": "lightning_xai.reports.Grid",
        "Sample": "lightning_xai.probing.Sample",
        "sample_from_batch": "lightning_xai.probing.sample_from_batch",
    },
)
