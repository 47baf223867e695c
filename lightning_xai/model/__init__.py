"""The only code that touches a user's model: readout, target layer, capture, leave-no-trace, chunking."""

from lightning_xai._lazy import lazy_names
from lightning_xai.model.preserved import preserved as preserved  # not lazily: its module has the same name

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Classifier": "classifier",
        "Readout": "readout",
        "preserved": "preserved",
    },
)
