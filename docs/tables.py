"""Write the tables of explainers and metrics, which the classes themselves know: ``python docs/tables.py``.

A table stands between ``<!-- name -->`` and ``<!-- /name -->`` and is replaced; a test compares it with the classes.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path

from lightning_xai import ExplanationMetric, get_explainer, get_metric, list_explainers, list_metrics

ROOT = Path(__file__).parents[1]
FILES = (ROOT / "README.md", ROOT / "docs" / "metrics.md")
BY_DEFAULT = (
    "insertion_deletion",
    "relative_faithfulness",
    "insertion_auc",
    "deletion_auc",
    "max_sensitivity",
    "avg_sensitivity",
    "heatmap_drift",
    "sparseness",
    "complexity",
    "pointing_game",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "box_localization",
)


def explainers() -> str:
    """Return a row per explainer."""
    rows = [("alias", "class", "what it does", "evaluations per image")]
    for alias in list_explainers():
        explainer = get_explainer(alias)
        kind = type(explainer)
        rows.append((f"`{alias}`", f"`{kind.__name__}`", _first_line(kind), _cost(explainer.evaluations)))
    return _table(rows)


def default_metrics() -> str:
    """Return a row per metric that is logged by default."""
    return _metric_rows([get_metric(alias) for alias in BY_DEFAULT], with_family=True)


def all_metrics() -> str:
    """Return a table of metrics per family."""
    metrics = [get_metric(alias) for alias in list_metrics()]
    families = list(dict.fromkeys(sorted((metric.family for metric in metrics), key=_FAMILIES.index)))
    return "\n\n".join(
        f"## {family.capitalize()}\n\n{_metric_rows([m for m in metrics if m.family == family], with_family=False)}"
        for family in families
    )


TABLES: dict[str, Callable[[], str]] = {
    "explainers": explainers,
    "default metrics": default_metrics,
    "all metrics": all_metrics,
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


def _metric_rows(metrics: list[ExplanationMetric], *, with_family: bool) -> str:
    family = ("family",) if with_family else ()
    rows = [(*family, "alias", "question", "range", "needs", "evaluations per image")]
    for metric in metrics:
        own = (metric.family,) if with_family else ()
        needs = ", ".join(_NEEDS.get(need, need) for need in sorted(metric.needs))
        cost = str(metric.evaluations()) if metric.evaluations() else "–"
        rows.append((*own, f"`{metric.alias}`", _first_line(type(metric)), _range(metric), needs or "–", cost))
    return _table(rows)


_NEEDS = {
    "masks": "masks or boxes",
    "explainer": "the explainer",
    "previous_heatmaps": "earlier heatmaps",
    "other_heatmaps": "other explainers",
}


def _range(metric: ExplanationMetric) -> str:
    low, high = ("∞" if math.isinf(end) else f"{end:g}".replace("-", "−") for end in metric.range)
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
    return f"{low} … {high}{arrow}"


def _cost(evaluations: int | None) -> str:
    return "depends" if evaluations is None else str(evaluations)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


if __name__ == "__main__":
    for page in FILES:
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
