"""The monitor's default suite: model evaluations per probe image, and what beside them takes time."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchmetrics import Metric

from benchmarks.evaluations import evaluations, forwards
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import Classifier, PixelFlipping, get_explainer
from lightning_xai.metrics.skill import Skill
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.sample import Sample

PROBE = 16
CHUNK = 16
WITHOUT_SKILLS = 56  # heatmap, clean image, two curves of ten, ten neighbours, two curves of the random control: 52
BUDGET = WITHOUT_SKILLS + 69  # 49 occluded cells and two curves of the reference, for both skills


def run(setting: Setting) -> Result:
    """Count on the small network, where that is quick, then measure the time on every network."""
    result = Result(
        "One explained validation: Grad-CAM, default suite, random control / as many raw forwards",
        f"at most {BUDGET} evaluations per image ({WITHOUT_SKILLS} without the skills), and none more for a metric "
        "that shares its evidence",
    )
    count = setting.size(cpu=PROBE, gpu=PROBE, quick=1)
    model = setting.model("small CNN")
    default = Plan("grad_cam", None).metrics(annotated=False)
    fewer = {name: metric for name, metric in default.items() if name != "avg_sensitivity"}
    suites = {
        "default": None,
        "default + PixelFlipping(baseline=0.0)": {**default, "pixel_flipping": PixelFlipping(baseline=0.0)},
        "default − AvgSensitivity": fewer,
    }
    passed = evaluations(model, _explained(setting, model, count, without_skills()))
    result.add(**_row("small CNN", "default − skills", count, passed, passed <= WITHOUT_SKILLS * count))
    cost = BUDGET * count
    for label, metrics in suites.items():
        passed = evaluations(model, _explained(setting, model, count, metrics))
        result.add(**_row("small CNN", label, count, passed, passed <= cost))
        cost = passed if label == "default" else cost
    for name in setting.names:
        result.add(**_timed(setting, name))
    return result


def without_skills() -> dict[str, Metric]:
    """Return the default suite but for the two metrics that occlude."""
    default = Plan("grad_cam", None).metrics(annotated=False)
    return {name: metric for name, metric in default.items() if not isinstance(metric, Skill)}


def _explained(
    setting: Setting, model: nn.Module, count: int, metrics: dict[str, Metric] | None
) -> Callable[[], object]:
    """Return what the monitor does with its probe after a validation, the automatic target layer already found."""
    plan, target = Plan("grad_cam", metrics), setting.target(count)
    sample = Sample(setting.images(count), target)
    get_explainer("grad_cam")(model, sample.images[:1], 0)
    return lambda: plan.answers(Classifier(model, chunk_size=CHUNK), sample, target)


def _timed(setting: Setting, name: str) -> dict[str, object]:
    large = name == "ResNet-50"
    count = setting.size(cpu=2 if large else PROBE, gpu=PROBE, quick=1)
    model, batch = setting.model(name), setting.images(CHUNK)
    explained = _explained(setting, model, count, None)
    passed = evaluations(model, explained)
    plain = forwards(model, batch, passed)
    found = compare(explained, plain, setting.size(cpu=1 if large else 3, gpu=5, quick=1), setting.device)
    row = _row(name, "default", count, passed, passed <= BUDGET * count)
    return {**row, **ratios(found), "share_beside_forwards": 1 - 1 / found.ratio}


def _row(model: str, suite: str, count: int, passed: int, met: bool) -> dict[str, object]:
    return {"model": model, "suite": suite, "images": count, "evaluations_per_image": passed / count, "met": met}
