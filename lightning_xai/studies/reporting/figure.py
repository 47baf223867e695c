"""A figure of a study."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_xai.comparison.models import imported
from lightning_xai.studies.findings import Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class StudyFigure:
    """A figure of a study.

    Attributes:
        name: Of its file, such as ``figure_14``.
        title: What it shows.
        part: Whose table is drawn, by `ComparisonTable.plot`.
        analysis: Or what is drawn by ``function``.
        kind: See `ComparisonTable.plot`.
        function: Path of a function ``(findings, **arguments) -> matplotlib Figure``, instead of ``kind``.
        arguments: Further ones, of either.
    """

    name: str
    title: str
    part: str = ""
    analysis: str = ""
    kind: str = ""
    function: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def drawn(self, findings: Findings) -> Figure:
        """Return the figure."""
        figure: Figure
        if self.function:
            figure = imported(self.function)(findings, **self.arguments)
        else:
            plot: Any = findings.part(self.part).plot  # a kind of a declaration is checked there
            figure = plot(self.kind, **self.arguments)
        return figure


def as_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    return content.getvalue()
