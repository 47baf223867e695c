"""Sensitivity where perturbed images are explained by another method than the image: what Table 3 looks like."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lightning_xai.comparison.records import Records
from lightning_xai.comparison.running.bench import Bench
from lightning_xai.explainers.gradient.saliency import Saliency
from lightning_xai.explainers.normalized import Normalized
from lightning_xai.metrics.robustness.avg_sensitivity import AvgSensitivity
from lightning_xai.metrics.robustness.max_sensitivity import MaxSensitivity
from lightning_xai.studies.analysis import AnalysisContext


def mismatched_sensitivity(
    context: AnalysisContext, part: str, explainers: Sequence[str], radius: float, num_samples: int
) -> Records:
    """Return Max- and Avg-Sensitivity of each method's maps, the perturbed images explained by the gradient.

    Quantus explains by the function that it is given, the gradient unless told otherwise, whatever made the maps.

    Args:
        context: Of the study.
        part: Whose first network and images are taken.
        explainers: Of that part, with maps in [0, 1] as the gradient's are here.
        radius: Of the noise; see `MaxSensitivity`.
        num_samples: Noisy copies.
    """
    asked = context.parts[part]
    (comparison,) = asked.comparisons(context.networks, None, device=context.device)
    task = comparison.task
    _, network = next(iter(asked.loaded(context.networks)))
    setting, device = task.settings[0], context.device or torch.device("cpu")
    bench = Bench(network.to(device), task.images_of(setting), setting.target, task.readout, task.seed, device)
    metrics = {"MS": MaxSensitivity(radius, num_samples), "AS": AvgSensitivity(radius, num_samples)}
    gradient, rows = Normalized(Saliency()), []
    for name in explainers:
        heatmaps = bench.heatmaps(task.explainers[name]).heatmaps
        scores = bench.scores(gradient, metrics, dict(enumerate(heatmaps)))
        found = [metrics[metric].estimate(scores.values[metric].rows) for metric in metrics]
        rows.append((name, *(number for one in found for number in (one.value, one.error))))
    columns = ("maps of", "MS, others of the gradient", "±", "AS, others of the gradient", "± ")
    return Records(columns, tuple(rows), "", ("± is the standard error over images.",))
