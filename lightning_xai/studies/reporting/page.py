"""A study as one page that opens anywhere, without a network and without scripts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning_xai.comparison.records import shown
from lightning_xai.comparison.statistics.verdict import verdicts

if TYPE_CHECKING:
    from lightning_xai.studies.result import StudyResult


def page(result: StudyResult, figures: Mapping[str, bytes]) -> str:
    """Return the page of a study: verdicts first, then tables, figures, networks, what is open, what failed.

    Args:
        result: Of the study.
        figures: Name -> PNG.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader

    loader = ChoiceLoader(
        [PackageLoader("lightning_xai.studies.reporting"), PackageLoader("lightning_xai.reports.html")]
    )
    templates = Environment(loader=loader, autoescape=True, trim_blocks=True)
    pictures = [
        (figure.title, f"data:image/png;base64,{base64.b64encode(figures[figure.name]).decode()}")
        for figure in result.study.figures
    ]
    parts = result.findings.parts
    return templates.get_template("study.html.j2").render(
        result=result,
        study=result.study,
        claims=[(claim, result.verdicts[claim.name]) for claim in result.study.claims],
        tables=[*result.tables.values(), *result.analyses()],
        figures=pictures,
        trusted=[(name, verdicts(table)) for name, table in parts.items()],
        ties=[(name, table.ties()) for name, table in parts.items()],
        shown=shown,
    )
