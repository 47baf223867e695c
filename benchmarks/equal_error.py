"""Insertion and deletion, alone and with max-sensitivity, at one error of the areas: ours beside other packages'."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.combinations import CHUNK, RADIUS, SAMPLES, Combination, combinations, trapezoid
from benchmarks.evaluations import evaluations, forwards
from benchmarks.explained import Explained
from benchmarks.larger_networks import larger_network
from benchmarks.mean_error import expected_error, points_for_a_mean
from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.timing import Run, Spread, in_turns
from lightning_xai import Case, Classifier, DeletionAUC, GradCAM, InsertionAUC, MaxSensitivity, MetricSuite, Readout
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps, area

ERROR = 0.01
GOAL = 3.0
ALONE, SENSITIVE = "insertion, deletion", "insertion, deletion, max-sensitivity"
_TOLERANCES = (0.05, 0.03, 0.02, 0.01)
_EACH = 5  # images of which each area is to keep the error
_RAW = "raw forwards"


def run(setting: Setting) -> Result:
    """Measure ResNet-18, in some five minutes of CPU time."""
    return of_network(setting, "resnet18")


def of_network(setting: Setting, name: str) -> Result:
    """Find the fewest evaluations with which each keeps the error, then measure all in turns."""
    parts = setting.size(cpu=112, gpu=224, quick=8)
    result = Result(
        f"Grad-CAM's areas of {name} at an error of {ERROR} (root mean square of an image's areas against {parts} "
        "equal parts), and points that a mean over 32 images needs",
        f"ours {GOAL:.0f} times faster than each of the others",
    )
    network, layer = larger_network(setting, name)
    explained = Explained(network.model, layer, network.images, network.target)
    if not _case(explained, Readout()).heatmaps.any():
        result.add(what="not measured: knows too little, its heatmaps are zero")
        return result
    for row in points_for_a_mean(_curves(explained, parts // 2), explained.images[0, 0].numel()):
        result.add(**row)
    few = explained.rows(slice(setting.size(cpu=_EACH, gpu=32, quick=2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers about what is asked on purpose
        for row in _at_equal_error(setting, few, parts, result):
            result.add(accuracy=network.accuracy, **row)
    return result


def _at_equal_error(setting: Setting, explained: Explained, parts: int, result: Result) -> Iterator[dict[str, object]]:
    curves = _curves(explained, parts)
    ways = [_ours(explained, curves)]
    ways.append(_in_bf16(explained, curves, ways[0]))
    try:
        ways += [_other(explained, curves, one) for one in combinations(explained.images[0, 0].numel())]
    except ModuleNotFoundError as error:
        result.add(what=f"others: {error.name} is not installed")
    yield from _measured(setting, explained, ways)


@dataclass(frozen=True)
class _Way:
    """A way that keeps the error, or comes nearest to it.

    Attributes:
        name: Who, and with what.
        steps: Of its curves.
        error: Of its areas.
        work: Task -> what has to be done, by name; equal names are the same work.
        rule: ``num_steps`` and ``tolerance`` of ours.
    """

    name: str
    steps: str
    error: float
    work: Mapping[str, Mapping[Hashable, Run]]
    rule: tuple[Steps, float | None] = ("radau", None)


def _curves(explained: Explained, parts: int) -> dict[str, Tensor]:
    """Return the curves of all images at the ends of equal parts, float64 (N, parts + 1)."""
    case = _case(explained, Readout())
    kinds = ("insertion", "deletion")
    return {kind: case[MaskingCurve(kind, 0.0, parts, ties="first")].double() for kind in kinds}


def _case(explained: Explained, readout: Readout) -> Case:
    layer = next(name for name, module in explained.model.named_modules() if module is explained.layer)
    classifier = Classifier(explained.model, readout, chunk_size=CHUNK, channels_last=True)
    return Case(classifier, explained.images, explained.target, explainer=GradCAM(layer))


def _ours(explained: Explained, curves: dict[str, Tensor]) -> _Way:
    """Return the rule with the fewest evaluations of those that keep the error; the most exact one if none does.

    Fewer evaluations are tried first; of equal parts those that the finest curves say to be enough.
    """
    found: list[tuple[bool, float, float, Steps, float | None]] = []
    rules: list[tuple[Steps, float | None]] = [("radau", None), *(("auto", one) for one in _TOLERANCES)]
    enough = (n for n in range(2, curves["deletion"].shape[1]) if expected_error(curves, *trapezoid(n)) <= ERROR)
    for steps, tolerance in [*rules, (next(enough, 2), None)]:
        error, cost = _tried(explained, curves, Readout(), steps, tolerance)
        found.append((error > ERROR, cost if error <= ERROR else error, error, steps, tolerance))
    _, _, error, steps, tolerance = min(found, key=lambda one: one[:3])
    return _way(explained, Readout(), steps, tolerance, error)


def _in_bf16(explained: Explained, curves: dict[str, Tensor], ours: _Way) -> _Way:
    readout = Readout(precision="bf16")
    error, _ = _tried(explained, curves, readout, *ours.rule)
    return _way(explained, readout, *ours.rule, error)


def _tried(
    explained: Explained, curves: dict[str, Tensor], readout: Readout, steps: Steps, tolerance: float | None
) -> tuple[float, int]:
    """Return the error of our areas and the evaluations that they took."""
    case = _case(explained, readout)
    scores = _suite(steps, tolerance, sensitive=False).score(case)
    return _error(torch.stack([scores["insertion_auc"], scores["deletion_auc"]]), curves), case.classifier.evaluations


def _way(explained: Explained, readout: Readout, steps: Steps, tolerance: float | None, error: float) -> _Way:
    def scored(*, sensitive: bool) -> object:
        return _suite(steps, tolerance, sensitive=sensitive).score(_case(explained, readout))

    name = "ours" if readout.precision == "model" else f"ours, Readout(precision={readout.precision!r})"
    work = {task: {(name, task): partial(scored, sensitive=task == SENSITIVE)} for task in (ALONE, SENSITIVE)}
    told = str(steps) if tolerance is None else f"{steps}, {tolerance}"
    return _Way(name, told, error, work, (steps, tolerance))


def _suite(steps: Steps, tolerance: float | None, *, sensitive: bool) -> MetricSuite:
    metrics = [
        curve(num_steps=steps, tolerance=tolerance, ties="first", baseline=0.0) for curve in (InsertionAUC, DeletionAUC)
    ]
    return MetricSuite([*metrics, *([MaxSensitivity(num_samples=SAMPLES, radius=RADIUS)] if sensitive else [])])


def _other(explained: Explained, curves: dict[str, Tensor], combination: Combination) -> _Way:
    """Return a combination with the fewest steps that keep the error; each image is asked about alone."""
    for steps in combination.steps:
        if expected_error(curves, *combination.rule(steps)) > ERROR:
            continue
        singles = [combination.areas(explained.rows(slice(i, i + 1)), steps) for i in range(len(explained))]
        error = _error(torch.stack(singles, 1), curves)
        if error <= ERROR:
            break
    areas: dict[Hashable, Run] = {combination.areas: partial(combination.areas, explained, steps)}
    sensitivity: dict[Hashable, Run] = {combination.sensitivity: partial(combination.sensitivity, explained)}
    return _Way(combination.name, str(steps), error, {ALONE: areas, SENSITIVE: {**areas, **sensitivity}})


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
