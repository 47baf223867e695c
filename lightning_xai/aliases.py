"""Names that stand for an explainer or a metric wherever one is expected, as types.

They include what other packages add by entry points, so that a wrong name in a YAML file is refused when it is read.
What an editor offers stands in ``aliases.pyi``, which is generated.
"""

from __future__ import annotations

from typing import Any, Literal

from lightning_xai.explainers.registry import EXPLAINERS
from lightning_xai.metrics.registry import METRICS

ExplainerAlias: Any = Literal[tuple(EXPLAINERS.names())]
"""One of `list_explainers`."""

MetricAlias: Any = Literal[tuple(METRICS.names())]
"""One of `list_metrics`."""
