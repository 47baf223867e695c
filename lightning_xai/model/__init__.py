"""The only code that touches a user's model: readout, target layer, capture, leave-no-trace, chunking."""

from lightning_xai._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Classifier": "classifier",
        "Readout": "readout",
        "preserved": "preserve",
    },
)
