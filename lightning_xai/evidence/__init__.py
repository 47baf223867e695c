"""Everything that costs model evaluations, computed once and shared by the metrics that read it."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Case": "case",
        "Evidence": "evidence",
        "Logits": "logits",
        "MaskingCurve": "masking_curve",
        "Neighbourhood": "neighbourhood",
        "Neighbours": "neighbourhood",
        "baseline_images": "baseline",
        "gaussian_blur": "baseline",
        "ranks": "ranking",
    },
)
