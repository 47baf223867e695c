"""How an explained epoch is told: scalars, files, pictures. Reports only read, and each fails alone."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AccuracyAlignment": "accuracy_alignment",
        "Grid": "grid",
        "History": "numbers",
        "Report": "report",
        "Run": "report",
        "Scalars": "numbers",
    },
)
