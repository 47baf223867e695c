"""All metrics at once, and family by family, beside other packages on the same model, images and settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.curve_cost import heatmaps_of
from benchmarks.evaluations import evaluations, forwards
from benchmarks.metric_peers import PEERS, Pair, Study
from benchmarks.peers import last_features
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import GradCAM, MetricSuite, list_metrics

LIMIT = 1.0
TOGETHER = "all of these at once"
EVERYTHING = "every metric there is"


class Complete(GradCAM):
    """Grad-CAM that says it promises completeness, so that the metric of that name may ask it."""

    completeness = True


def run(setting: Setting) -> Result:
    """Compare with each peer, then let every registered metric run at once beside as many raw forwards."""
    result = Result("Metrics with settings that others have too: ours / theirs", f"ours at most {LIMIT}x")
    model = setting.names[0]
    count = setting.size(cpu=4, gpu=32, quick=1)
    study = _study(setting, model, count, count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers about what is asked on purpose
        for peer, build in PEERS.items():
            pairs = build(study)
            if pairs is None:
                result.add(suite=TOGETHER, beside=f"{peer}: not installed")
                continue
            families = dict.fromkeys(pair.ours.family for pair in pairs)
            chosen = {family: [pair for pair in pairs if pair.ours.family == family] for family in families}
            for suite, members in {**chosen, TOGETHER: pairs}.items():
                result.add(**_row(setting, study, suite, peer, members))
        result.add(**_everything(setting, model))
    return result


def _study(setting: Setting, name: str, count: int, chunk: int) -> Study:
    model, images = setting.model(name), setting.images(count)
    features = last_features(model)
    layer = next(name for name, module in model.named_modules() if module is features)
    GradCAM()(model, images[:1], 0)  # finds the automatic target layer, once per model
    masks = torch.zeros(images[:, 0].shape, dtype=torch.bool, device=images.device)
    masks[:, : setting.side // 2, : setting.side // 3] = True
    return Study(
        model=model,
        chunk=chunk,
        images=images,
        target=setting.target(count),
        heatmaps=heatmaps_of(images),
        masks=masks,
        explainer=Complete(target_layer=layer),
        layer=layer,
        layers=sum(hasattr(module, "reset_parameters") for module in model.modules()),
    )


def _row(setting: Setting, study: Study, suite: str, peer: str, pairs: list[Pair]) -> dict[str, Any]:
    metrics = MetricSuite({pair.ours.alias: pair.ours for pair in pairs})

    def ours() -> object:
        return metrics.score(study.case())

    def theirs() -> list[object]:
        return [pair.theirs() for pair in pairs]

    row: dict[str, Any] = {"suite": suite, "beside": peer, "metrics": len(pairs), "images": len(study.images)}
    counts = _per_image(study.model, len(study.images), {"our": ours, "their": theirs})
    found = compare(ours, theirs, setting.size(cpu=3, gpu=5, quick=1), setting.device)
    return {**row, **counts, **ratios(found, setting.limit(LIMIT))}


def _everything(setting: Setting, name: str) -> dict[str, Any]:
    count, chunk = setting.size(cpu=2, gpu=8, quick=1), setting.size(cpu=8, gpu=32, quick=8)
    study, suite = _study(setting, name, count, chunk), MetricSuite(list_metrics())
    others = {"blank": torch.zeros_like(study.heatmaps), "first": study.images[:, 0]}

    def ours() -> object:
        case = study.case().with_heatmaps(
            study.heatmaps, study.explainer, previous_heatmaps=study.heatmaps, other_heatmaps=others
        )
        return suite.score(case)

    counts = _per_image(study.model, count, {"our": ours})
    plain = forwards(study.model, setting.images(chunk), round(counts["our_evaluations"] * count))
    found = compare(ours, plain, setting.size(cpu=1, gpu=3, quick=1), setting.device)
    row = {"suite": EVERYTHING, "beside": "as many raw forwards", "metrics": len(list_metrics()), "images": count}
    return {**row, **counts, **ratios(found)}


def _per_image(model: nn.Module, count: int, works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the evaluations per image of each."""
    return {f"{name}_evaluations": evaluations(model, work) / count for name, work in works.items()}
