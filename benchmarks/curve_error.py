"""How far areas are off by how a curve is evaluated, beside how far a mean is off by which 32 images were taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.photographs import networks
from benchmarks.probe_error import PROBE, of_a_mean
from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.trained import Trained
from lightning_xai import Case, Classifier, GradCAM, MaskingCurve, RandomHeatmap
from lightning_xai.evidence.masking.masking_curve import Steps, area
from lightning_xai.evidence.masking.refinement import FINEST

LIMIT = 1 / 5
_RULES: tuple[tuple[Steps, float | None], ...] = (
    ("radau", None),
    (32, None),
    (16, None),
    (8, None),
    *(("auto", tolerance) for tolerance in (0.1, 0.05, 0.02, 0.01)),
)
_KINDS = ("insertion", "deletion")


def run(setting: Setting) -> Result:
    """Evaluate insertion and deletion of Grad-CAM and of the random control by every rule."""
    result = Result(
        f"Error of areas against {FINEST} equal parts, as a share of the standard error over {PROBE} images",
        f"num_steps='radau': root mean square at most {LIMIT:.2f} of the standard error",
    )
    for network in networks(setting, result):
        for row in _errors(setting, network):
            result.add(network=network.name, **row)
    return result


@dataclass(frozen=True)
class _Areas:
    """Areas per image (N,) of Grad-CAM's and the control's curves by direction, and what they cost per image."""

    map: dict[str, Tensor]
    control: dict[str, Tensor]
    evaluations: float
    beyond: float | None

    @property
    def faithfulness(self) -> Tensor:
        return self.map["insertion"] - self.map["deletion"]

    @property
    def gain(self) -> Tensor:
        return self.faithfulness - (self.control["insertion"] - self.control["deletion"])


def _errors(setting: Setting, network: Trained) -> Iterator[dict[str, object]]:
    images, target = network.images, network.target
    case = Case(Classifier(network.model, chunk_size=32, channels_last=True), images, target, explainer=GradCAM())
    control = case.with_heatmaps(explainer=RandomHeatmap())
    exact = _areas(case, control, FINEST, None)
    sampling = {name: float(getattr(exact, name).std()) / PROBE**0.5 for name in ("faithfulness", "gain")}
    for steps, tolerance in _RULES:
        found = _areas(case, control, steps, tolerance, exact)
        shares = {
            f"{name}_rms_share": float(of_a_mean(getattr(found, name) - getattr(exact, name), network.group)) / error
            for name, error in sampling.items()
        }
        error = found.faithfulness - exact.faithfulness
        yield {
            "accuracy": network.accuracy,
            "images": len(images),
            "num_steps": steps if tolerance is None else f"auto, {tolerance}",
            "evaluations": found.evaluations,
            "sampling_error": sampling["faithfulness"],
            **shares,
            "mean_error": float(error.mean()),
            "image_error_sd": float(error.std()),
            "beyond_bound": found.beyond,
            **({"met": setting.quick or max(shares.values()) <= LIMIT} if steps == "radau" else {}),
        }


def _areas(case: Case, control: Case, steps: Steps, tolerance: float | None, exact: _Areas | None = None) -> _Areas:
    curves = {
        kind: MaskingCurve(kind, "blur" if kind == "insertion" else 0.0, steps, tolerance=tolerance) for kind in _KINDS
    }
    if steps != "auto":
        before = case.classifier.evaluations
        areas = [{kind: curve.area(one) for kind, curve in curves.items()} for one in (case, control)]
        return _Areas(*areas, (case.classifier.evaluations - before) / len(case), None)
    found = [{kind: curve.refine(one) for kind, curve in curves.items()} for one in (case, control)]
    areas = [{kind: area(refinement.curve) for kind, refinement in by_kind.items()} for by_kind in found]
    spent = sum(float(one.evaluated.sum(1).float().mean()) - 1 for by_kind in found for one in by_kind.values())
    beyond = [
        (areas[i][kind] - truth[kind]).abs() > found[i][kind].error_bound + 1e-6
        for i, truth in enumerate((exact.map, exact.control) if exact is not None else ())
        for kind in _KINDS
    ]
    return _Areas(*areas, spent, float(torch.stack(beyond).float().mean()) if beyond else None)
