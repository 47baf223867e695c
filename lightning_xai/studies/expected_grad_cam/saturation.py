"""How early a network's target layer and its probability stop changing on the way from black to the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.comparison.images import images_of
from lightning_xai.comparison.models import instantiated
from lightning_xai.comparison.records import Records
from lightning_xai.metrics.cost.saturation import Saturation, SaturationCurves
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.probing.target import case_of
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import Contrast, quantile
from lightning_xai.studies.judging.verdict import Within, outcome_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("network", "what", "alpha", "mean", "deviation")
_REACHED = "α where .9 is reached"


def saturation_curves(
    context: AnalysisContext,
    parts: Sequence[str],
    num_images: int = 25,
    num_steps: int = 25,
    target_layer: str = "auto",
) -> Records:
    """Return curves over α of each network of some parts: means and deviations over images of the predicted class.

    Rows are ``cosine`` (of the target layer's activations to those of the image) and ``probability`` (of the class, as
    a share of that of the image); and, without α, at which α images reach .9 of either and stay there: mean and
    standard error.
    """
    rows: list[tuple[str, str, float | None, float, float]] = []
    for name in parts:
        part = context.parts[name]
        source = next(iter(part.data.values()))
        images = images_of(instantiated(dict(source)), num_images)
        for network, module in part.loaded(context.networks):
            metric = Saturation(num_steps, target_layer)
            with preserved(module), torch.no_grad():
                labels = torch.tensor(images.probe.labels)
                case = case_of(
                    Classifier(module),
                    images.sample(list(range(len(images))), torch.device("cpu")),
                    labels,
                    "predicted",
                )
                found = metric.curves(case)
            rows += [(network, *row) for row in _rows(found)]
    return Records(_COLUMNS, tuple(rows), "Saturation")


def _rows(found: SaturationCurves) -> Iterator[tuple[str, float | None, float, float]]:
    share = found.probability / found.probability[:, -1:]
    for what, curve in (("cosine", found.cosine), ("probability", share)):
        for place, alpha in enumerate(found.alphas):
            yield what, alpha, float(curve[:, place].mean()), float(curve[:, place].std())
        reached = first_kept(curve, torch.tensor(found.alphas))
        yield f"{what}: {_REACHED}", None, float(reached.mean()), float(reached.std() / math.sqrt(len(reached)))


def first_kept(curves: Tensor, alphas: Tensor, level: float = 0.9) -> Tensor:
    """Return the least α from which a curve (N, S) stays at or above a level, (N,).

    Example:
        >>> first_kept(
        ...     torch.tensor([[0.95, 0.5, 0.9, 1.0], [0.9, 1.0, 1.0, 1.0]]), torch.tensor([0.25, 0.5, 0.75, 1.0])
        ... )
        tensor([0.7500, 0.2500])
    """
    stays = (curves >= level).flip(1).cumprod(1).flip(1).bool()
    return alphas[(~stays).sum(1).clamp(max=len(alphas) - 1)]


def saturates_early(findings: Findings, analysis: str, before: float = 0.5) -> Verdict:
    """Judge that layer and probability reach nine tenths of what they are at the image before an α, on each network."""
    rows = [row for row in findings.analyses[analysis] if row["alpha"] is None]
    judged = [
        Within(Contrast("", row["mean"], row["mean"] - half, row["mean"] + half, 1), below=before)
        for row in rows
        for half in [quantile(math.inf) * row["deviation"]]
    ]
    why = "; ".join(f"{row['network']}, {row['what']}: {row['mean']:.2f} ± {row['deviation']:.2f}" for row in rows)
    return Verdict(outcome_of(judged), why)


def draw_saturation(findings: Findings, analysis: str) -> Figure:
    """Return a panel for the layer and one for the probability, a curve with ± 2 deviations per network."""
    from matplotlib.figure import Figure

    records = findings.analyses[analysis]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    names = list(dict.fromkeys(row["network"] for row in records))
    titles = {"cosine": "cosine of the target layer's activations", "probability": "probability, as a share"}
    for axes, (what, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for name in names:
            rows = [row for row in records if (row["network"], row["what"]) == (name, what)]
            mean = torch.tensor([row["mean"] for row in rows])
            band = 2 * torch.tensor([row["deviation"] for row in rows])
            alphas = [row["alpha"] for row in rows]
            (line,) = axes.plot(alphas, mean, label=name)
            axes.fill_between(alphas, mean - band, mean + band, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_xlabel("α of the scaled image αx")
        axes.set_title(title, fontsize=10, loc="left")
    figure.axes[0].legend(fontsize=8)
    return figure
