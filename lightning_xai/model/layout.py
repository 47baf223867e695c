"""Whether a model reads images in another memory layout."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.model.classifier import Classifier

_ROUNDING = 1e-4  # of the largest logit: deep networks show 1e-6 in float32, and 4e-3 in bfloat16


def reads_channels_last(classifier: Classifier, images: Tensor) -> bool:
    """Return whether the logits of ``images`` are the same in ``torch.channels_last``, but for float32's rounding.

    A model that needs another layout raises, as ``x.view(len(x), -1)`` does, or reads other numbers (raw memory).

    Args:
        classifier: The model; what is evaluated counts.
        images: (N, C, H, W), at least two, because the layout of a single one is ambiguous.
    """
    expected = classifier.in_layout(channels_last=False).logits(images)
    try:
        found = classifier.in_layout(channels_last=True).logits(images)
    except Exception:  # of a user's model, which has just worked in the usual layout
        return False
    return bool(((found - expected).abs() <= _ROUNDING * expected.abs().max()).all())  # not where they are NaN
