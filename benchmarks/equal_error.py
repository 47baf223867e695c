"""Insertion and deletion, alone and with max-sensitivity, at one error of the areas: ours beside other packages'."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.combinations import CHUNK, RADIUS, SAMPLES, Combination, combinations
from benchmarks.evaluations import evaluations, forwards
from benchmarks.explained import Explained
from benchmarks.larger_networks import larger_networks
from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.timing import Run, Spread, in_turns
from lightning_xai import Case, Classifier, DeletionAUC, GradCAM, InsertionAUC, MaxSensitivity, MetricSuite, Readout
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps, area

ERROR = 0.01
GOAL = 3.0
ALONE, SENSITIVE = "insertion, deletion", "insertion, deletion, max-sensitivity"
_RULES: tuple[tuple[Steps, float | None], ...] = (
    ("radau", None),
    *((parts, None) for parts in (8, 12, 16, 20, 24, 32)),
    *(("auto", tolerance) for tolerance in (0.1, 0.05, 0.03, 0.02, 0.01)),
)
_RAW = "raw forwards"


def run(setting: Setting) -> Result:
    """Find the fewest evaluations with which each keeps the error, then measure all in turns."""
    parts = setting.size(cpu=112, gpu=224, quick=8)
    result = Result(
        f"Grad-CAM's areas at an error of {ERROR} (root mean square of an image's areas against {parts} equal parts)",
        f"ours {GOAL:.0f} times faster than each of the others",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers about what is asked on purpose
        for network, layer in larger_networks(setting):
            explained = Explained(network.model, layer, network.images, network.target)
            if not _case(explained, Readout()).heatmaps.any():
                result.add(network=network.name, what="not measured: knows too little, its heatmaps are zero")
                continue
            curves = _curves(explained, parts)
            ways = [_ours(explained, curves, Readout()), _ours(explained, curves, Readout(precision="bf16"))]
            try:
                ways += [_other(explained, curves, one) for one in combinations(explained.images[0, 0].numel())]
            except ModuleNotFoundError as error:
                result.add(network=network.name, what=f"others: {error.name} is not installed")
            for row in _measured(setting, explained, ways):
                result.add(network=network.name, accuracy=network.accuracy, **row)
    return result


@dataclass(frozen=True)
class _Way:
    """A way that keeps the error, or comes nearest to it.

    Attributes:
        name: Who, and with what.
        steps: Of its curves.
        error: Of its areas.
        work: Task -> what has to be done, by name; equal names are the same work.
    """

    name: str
    steps: str
    error: float
    work: Mapping[str, Mapping[Hashable, Run]]


def _curves(explained: Explained, parts: int) -> dict[str, Tensor]:
    """Return the curves of all images at the ends of equal parts, float64 (N, parts + 1)."""
    case = _case(explained, Readout())
    kinds = ("insertion", "deletion")
    return {kind: case[MaskingCurve(kind, 0.0, parts, ties="first")].double() for kind in kinds}


def _case(explained: Explained, readout: Readout) -> Case:
    layer = next(name for name, module in explained.model.named_modules() if module is explained.layer)
    classifier = Classifier(explained.model, readout, chunk_size=CHUNK, channels_last=True)
    return Case(classifier, explained.images, explained.target, explainer=GradCAM(layer))


def _ours(explained: Explained, curves: dict[str, Tensor], readout: Readout) -> _Way:
    """Return the rule with the fewest evaluations of those that keep the error; the most exact one if none does."""
    found: list[tuple[bool, float, float, Steps, float | None]] = []
    for steps, tolerance in _RULES:
        case = _case(explained, readout)
        scores = _suite(steps, tolerance, sensitive=False).score(case)
        error = _error(torch.stack([scores["insertion_auc"], scores["deletion_auc"]]), curves)
        cost = case.classifier.evaluations if error <= ERROR else error
        found.append((error > ERROR, cost, error, steps, tolerance))
    _, _, error, steps, tolerance = min(found, key=lambda one: one[:3])

    def scored(few: Explained, *, sensitive: bool) -> object:
        return _suite(steps, tolerance, sensitive=sensitive).score(_case(few, readout))

    name = "ours" if readout.precision == "model" else f"ours, Readout(precision={readout.precision!r})"
    work = {
        task: {(name, task): partial(scored, explained, sensitive=task == SENSITIVE)} for task in (ALONE, SENSITIVE)
    }
    return _Way(name, str(steps) if tolerance is None else f"{steps}, {tolerance}", error, work)


def _suite(steps: Steps, tolerance: float | None, *, sensitive: bool) -> MetricSuite:
    metrics = [
        curve(num_steps=steps, tolerance=tolerance, ties="first", baseline=0.0) for curve in (InsertionAUC, DeletionAUC)
    ]
    return MetricSuite([*metrics, *([MaxSensitivity(num_samples=SAMPLES, radius=RADIUS)] if sensitive else [])])


def _other(explained: Explained, curves: dict[str, Tensor], combination: Combination) -> _Way:
    """Return a combination with the fewest steps that keep the error; each image is asked about alone."""
    for steps in combination.steps:
        if _expected_error(curves, *combination.rule(steps)) > ERROR:
            continue
        singles = [combination.areas(explained.rows(slice(i, i + 1)), steps) for i in range(len(explained))]
        error = _error(torch.stack(singles, 1), curves)
        if error <= ERROR:
            break
    areas: dict[Hashable, Run] = {combination.areas: partial(combination.areas, explained, steps)}
    sensitivity: dict[Hashable, Run] = {combination.sensitivity: partial(combination.sensitivity, explained)}
    return _Way(combination.name, str(steps), error, {ALONE: areas, SENSITIVE: {**areas, **sensitivity}})


def _expected_error(curves: dict[str, Tensor], shares: Tensor, weights: Tensor) -> float:
    """Return the error of a rule's areas, read between the points of the finest curves."""
    parts = curves["deletion"].shape[1] - 1
    place = shares * parts
    left = place.floor().long().clamp(max=parts - 1)
    areas = [
        (torch.lerp(curve[:, left], curve[:, left + 1], (place - left).expand(len(curve), -1)) * weights).sum(1)
        for curve in curves.values()
    ]
    return _error(torch.stack(areas), curves)


def _error(areas: Tensor, curves: dict[str, Tensor]) -> float:
    exact = torch.stack([area(curve) for curve in curves.values()])
    return float((areas.double().cpu() - exact.cpu()).square().mean().sqrt())


def _measured(setting: Setting, explained: Explained, ways: list[_Way]) -> Iterator[dict[str, object]]:
    """Yield a row for each task and way."""
    works: dict[Hashable, Run] = {}
    for way in ways:
        works.update(way.work[SENSITIVE] | way.work[ALONE])
    passes = {name: evaluations(explained.model, work) for name, work in works.items()}
    passes[_RAW] = max(passes.values())
    batch = explained.images.repeat(-(-CHUNK // len(explained)), 1, 1, 1)[:CHUNK]
    works[_RAW] = forwards(explained.model, batch, passes[_RAW])
    seconds = in_turns(works, setting.size(cpu=2, gpu=5, quick=1), setting.device)
    raw = [one / passes[_RAW] for one in seconds[_RAW]]
    for task in (ALONE, SENSITIVE):
        spent = [[sum(turn) for turn in zip(*(seconds[name] for name in way.work[task]), strict=True)] for way in ways]
        ratios = [Spread.of([a / b for a, b in zip(one, spent[0], strict=True)]) for one in spent]
        cheapest = min((ratio.median for ratio in ratios[2:]), default=None)
        for way, one, ratio in zip(ways, spent, ratios, strict=True):
            count = sum(passes[name] for name in way.work[task])
            row = {
                "task": task,
                "what": way.name,
                "steps": way.steps,
                "error": way.error,
                "evaluations_per_image": count / len(explained),
                "ms_per_image": statistics.median(one) / len(explained) * 1e3,
                "to_raw_forwards": statistics.median(a / (count * b) for a, b in zip(one, raw, strict=True)),
                "to_ours": ratio,
            }
            is_ours = way is ways[0]
            yield {**row, "met": cheapest >= GOAL} if is_ours and cheapest and not setting.quick else row
