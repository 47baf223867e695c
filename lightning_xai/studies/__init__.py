"""Papers on explanations as studies: what they ran, what they printed, what they claim, and what is found here."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Claim": "claim",
        "Findings": "findings",
        "Network": "findings",
        "Recipe": "training.recipe",
        "Study": "study",
        "StudyResult": "result",
        "TrainedNetworks": "training.trained_networks",
        "Verdict": "claim",
        "list_studies": "declaration",
    },
)
