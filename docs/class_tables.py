"""Write the tables of explainers and metrics, which the classes themselves know: ``python docs/class_tables.py``.

A table stands between ``<!-- name -->`` and ``<!-- /name -->`` and is replaced; a test compares it with the classes.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lightning_xai import (
    Evidence,
    ExplanationMetric,
    MaskingCurve,
    get_explainer,
    get_metric,
    list_explainers,
    list_metrics,
    list_transforms,
)
from lightning_xai.cli.listing import NEEDS
from lightning_xai.comparison.transforms.registry import TRANSFORMS

ROOT = Path(__file__).parents[1]
FILES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("comparison", "explainers", "metrics")))


def explainers() -> str:
    """Return a row per family of explainers."""
    rows = [("family", "explainers")]
    for family, summary in _EXPLAINERS.items():
        names = ", ".join(f"`{alias}`" for alias in list_explainers(family))
        rows.append((f"{family}: {summary}", names))
    return _table(rows)


def all_explainers() -> str:
    """Return a table of explainers per family."""
    parts = []
    for family, summary in _EXPLAINERS.items():
        rows = [("alias", "class", "what it does", "class-specific", "complete", "evaluations per image", "not for")]
        for explainer in map(get_explainer, list_explainers(family)):
            kind = type(explainer)
            facts = (_yes(explainer.class_discriminative), _yes(explainer.completeness), _cost(explainer.evaluations))
            name = (f"`{explainer.alias}`", f"`{kind.__name__}`", _first_line(kind))
            rows.append((*name, *facts, explainer.refuses or "–"))
        title = "CAM" if family == "cam" else family.capitalize()
        parts.append(f"## {title}: {summary}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def default_metrics() -> str:
    """Return a row per metric that is logged by default."""
    metrics = [metric for metric in map(get_metric, list_metrics()) if metric.in_default_suite]
    return _metric_rows(sorted(metrics, key=lambda metric: _FAMILIES.index(metric.family)), overview=True)


def all_metrics() -> str:
    """Return a table of metrics per family."""
    metrics = [get_metric(alias) for alias in list_metrics()]
    families = list(dict.fromkeys(sorted((metric.family for metric in metrics), key=_FAMILIES.index)))
    return "\n\n".join(
        f"## {family.capitalize()}\n\n{_metric_rows([m for m in metrics if m.family == family], overview=False)}"
        for family in families
    )


def transforms() -> str:
    """Return a row per transform of a comparison."""
    rows = [("alias", "class with its settings", "what it does", "evaluations of each model per image")]
    for alias in list_transforms():
        kind = TRANSFORMS.load(alias)
        parameters = inspect.signature(kind).parameters.values()
        given = [one.name + ("" if one.default is one.empty else f"={one.default!r}") for one in parameters]
        shown = f"`{kind.__name__}({', '.join(given)})`".replace("'", '"')
        cost = str(kind().evaluations) if kind.needs_model else "–"
        rows.append((f"`{alias}`", shown, _first_line(kind), cost))
    return _table(rows)


TABLES: dict[str, Callable[[], str]] = {
    "transforms": transforms,
    "explainers": explainers,
    "all explainers": all_explainers,
    "default metrics": default_metrics,
    "all metrics": all_metrics,
}
_EXPLAINERS = {
    "cam": "feature maps of a layer, weighed",
    "gradient": "the score's gradient by pixels",
    "perturbation": "what happens when parts are hidden",
    "transformer": "attention followed through the blocks",
    "information": "what the network cannot do without, in bits",
    "controls": "explanations of nothing, to compare with",
}
_FAMILIES = ("faithfulness", "robustness", "localization", "complexity", "randomization", "agreement", "cost")


def refreshed(text: str) -> str:
    """Return a page with its tables as the classes are now."""
    for name, table in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
        if marked.search(text):
            content = table()
            text = marked.sub(lambda found, content=content: f"{found[1]}\n{content}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def _metric_rows(metrics: list[ExplanationMetric], *, overview: bool) -> str:
    """Return a row per metric; an overview of several families has the family in place of the evidence."""
    family, evidence = (("family",), ()) if overview else ((), ("evidence",))
    rows = [(*family, "alias", "question", "better", "range", "needs", *evidence, "evaluations per image")]
    for metric in metrics:
        first, last = ((metric.family,), ()) if overview else ((), (_evidence(metric),))
        needs = ", ".join(NEEDS.get(need, need) for need in sorted(metric.needs)) or "–"
        better = {True: "higher ↑", False: "lower ↓", None: "–"}[metric.higher_is_better]
        cost = str(metric.evaluations()) if metric.evaluations() else "–"
        question = _first_line(type(metric))
        rows.append((*first, f"`{metric.alias}`", question, better, _range(metric), needs, *last, cost))
    return _table(rows)


def _evidence(metric: ExplanationMetric) -> str:
    """Return the kinds of evidence that a metric declares, the class names in words."""
    kinds = Counter(_in_words(evidence) for evidence in metric.evidence)
    return ", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items()) or "–"


def _in_words(evidence: Evidence) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(evidence).__name__).lower()
    return f"{words} ({evidence.direction})" if isinstance(evidence, MaskingCurve) else words


def _range(metric: ExplanationMetric) -> str:
    low, high = (f"{end:g}".replace("inf", "∞").replace("-", "−") for end in metric.range)
    return f"{low} … {high}"


def _cost(evaluations: int | None) -> str:
    return "by network or image" if evaluations is None else str(evaluations)


def _yes(value: bool) -> str:
    return "yes" if value else "–"


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


if __name__ == "__main__":
    for page in FILES:
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
