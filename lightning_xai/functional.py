"""Every metric as a function of tensors that returns one value per image; made from the metric classes."""

from __future__ import annotations

import sys
from typing import Any

from lightning_xai.metrics.registry import METRICS

__all__ = sorted(METRICS.builtin)


def __getattr__(name: str) -> Any:
    if name not in METRICS.builtin:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_xai.metrics.function import function_of

    function = function_of(METRICS.load(name))
    setattr(sys.modules[__name__], name, function)  # the next use finds it at once
    return function


def __dir__() -> list[str]:
    return list(__all__)
