"""What is asked about which images, and what was found; without Lightning."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Answers": "explained",
        "Estimate": "explained",
        "Explained": "explained",
        "ExplainedEpoch": "explained",
        "ImageScores": "image_scores",
        "Keys": "keys",
        "OneProcess": "processes",
        "Plan": "plan",
        "Probe": "probe",
        "ProbeSelection": "selection",
        "Processes": "processes",
        "Sample": "sample",
        "ShortcutAlarm": "shortcut_alarm",
        "ValidationLogits": "validation",
        "difference": "image_scores",
        "sample_from_batch": "batches",
    },
)
