"""How an explained epoch is told: scalars, files, pictures. Reports only read, and each fails alone."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AccuracyAlignment": "accuracy_alignment",
        "Breakdown": "breakdown",
        "Failures": "failures",
        "Filmstrip": "filmstrip",
        "Grid": "grid",
        "History": "numbers",
        "HtmlReport": "html.html_report",
        "ImageTable": "image_table",
        "Maps": "maps",
        "Report": "report",
        "Run": "report",
        "RunComparison": "saved_run",
        "SavedRun": "saved_run",
        "Scalars": "numbers",
        "compare_runs": "saved_run",
        "load_run": "saved_run",
        "write_report": "html.html_report",
    },
)
