"""Explainers compared by metrics, over models and images: one tidy table with its statistics."""

from lightning_xai._lazy import lazy_names
from lightning_xai.comparison.transforms.registry import TRANSFORMS

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Cell": "cell",
        "CellHeatmaps": "results",
        "CellValues": "results",
        "Comparison": "comparison",
        "ComparisonTable": "table",
        "Failure": "cell",
        "ImageFacts": "results",
        "ImageFolder": ".datasets.readers.image_folder",
        "Records": "records",
        "Setting": "cell",
        "Surroundings": "transforms.surroundings",
        "Transform": "transforms.transform",
        "data_randomization": "sanity_checks.randomized_labels",
        "input_invariance": "sanity_checks.shifted_images",
        "get_transform": "transforms.registry",
        "list_transforms": "transforms.registry",
        **{name: f"transforms.{module}" for name, module in TRANSFORMS.public_names.items()},
    },
)
