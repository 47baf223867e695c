"""From a metric class to the function of the same number: what its call takes, and what its documentation says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any, TypeAlias

from torch import Tensor

from lightning_xai._settings import setting_names
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric

MetricFunction: TypeAlias = Callable[..., Tensor | tuple[Tensor, ...]]

_RANGE = "Least and greatest value that images have, of which noise is a share; each image's own if None."
_INPUTS = {
    "model": ("Model", "A module or a `Classifier`."),
    "images": ("Tensor", "Floating point (N, C, H, W), as the model sees them."),
    "explainer": ("Explainer", "What makes the heatmaps."),
    "heatmaps": ("Tensor", "Floating point (N, H, W), raw."),
    "target": ("Tensor | int", "Class per image, int64 (N,), or one class for all."),
    "masks": ("Tensor", "Boolean (N, H, W), the annotated object."),
    "boxes": (
        "Tensor | Sequence[Tensor]",
        "(N, 4), (N, M, 4) padded with NaN, or a sequence of (M_i, 4): x0, y0, x1, y1 in pixels.",
    ),
    "regions": (
        "Mapping[str, Tensor | Sequence[Tensor]]",
        "Named areas: name -> masks (N, H, W), boolean, or boxes (N, 4), (N, M, 4) or a sequence of (M_i, 4).",
    ),
    "previous_heatmaps": ("Tensor", "Heatmaps (N, h, w) of the same images from an earlier epoch."),
    "other_heatmaps": ("Mapping[str, Tensor]", "Heatmaps (N, H, W) of the same images by other explainers, by name."),
    "value_range": ("tuple[float, float]", _RANGE),
}
_MADE = "Floating point (N, H, W), raw; made by ``explainer`` if None."


def function_of(metric: type[ExplanationMetric]) -> MetricFunction:
    """Return the function that scores a batch without keeping it.

    Its arguments are what the metric reads with default settings (`ExplanationMetric.all_inputs`), then, by keyword
    only, what it reads with others, and the settings. It returns one value per image, float32 (N,), or one such tensor
    for each of `ExplanationMetric.columns`.
    """
    parameters = _parameters(metric)

    def function(*args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, ...]:
        arguments = signature.bind(*args, **kwargs).arguments
        settings = {name: arguments.pop(name) for name in setting_names(metric) if name in arguments}
        scorer = metric(**settings)
        rows = scorer.scored(Case(**arguments))
        return rows.unbind(1) if scorer.columns else scorer.per_image(rows)

    result = "tuple[Tensor, ...]" if metric.columns else "Tensor"
    signature = Signature(parameters, return_annotation=result)
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__name__ = function.__qualname__ = metric.alias
    function.__module__ = metric.__module__
    function.__doc__ = _documentation(metric, parameters)
    return function


def _parameters(metric: type[ExplanationMetric]) -> list[Parameter]:
    required = metric().all_inputs
    optional = metric.optional_inputs - required
    if {"explainer", "heatmaps"} <= required:
        required, optional = required - {"heatmaps"}, optional | {"heatmaps"}
    elif {"model", "heatmaps"} <= required:
        optional |= {"explainer"}
    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=_INPUTS[name][0])
        for name in _INPUTS
        if name in required
    ]
    parameters += [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=f"{_INPUTS[name][0]} | None")
        for name in _INPUTS
        if name in optional
    ]
    own = inspect.signature(metric).parameters
    return parameters + [own[name].replace(kind=Parameter.KEYWORD_ONLY) for name in setting_names(metric)]


def _documentation(metric: type[ExplanationMetric], parameters: list[Parameter]) -> str:
    """Return a docstring in the style of all others, from that of the class."""
    sections = _sections(inspect.getdoc(metric) or "")
    summary, *definition = sections[""].split("\n\n")
    settings = _entries(sections.get("Args", ""))
    arguments = [f"    {p.name}: {_said(p, settings)}" for p in parameters]
    parts = [f"{summary}\n\n{definition[0]}" if definition else summary]
    parts.append(f"See `{metric.__name__}` for costs, source and deviations.")
    parts.append("Args:\n" + "\n".join(arguments))
    parts.append(f"Returns:\n    {_returned(metric)}")
    raised = _indented(sections.get("Raises", ""))
    parts.append("Raises:\n" + (raised or "    ValueError: If shapes, devices or values do not fit."))
    return "\n\n".join(parts) + "\n"


def _said(parameter: Parameter, settings: Mapping[str, str]) -> str:
    if parameter.name in settings:
        return settings[parameter.name]
    if parameter.default is None and parameter.name == "heatmaps":
        return _MADE
    if parameter.default is None and parameter.name == "explainer":
        return "Makes the heatmaps where none are given, and those of changed images."
    return _INPUTS[parameter.name][1]


def _returned(metric: type[ExplanationMetric]) -> str:
    undefined = "; NaN where undefined" if metric.can_be_undefined else ""
    if metric.columns:
        return f"{', '.join(metric.columns)}: float32 (N,) each{undefined}."
    if metric.per_image is not ExplanationMetric.per_image:
        return f"float32 (N,): {(inspect.getdoc(metric.per_image) or '').removeprefix('Return ')}"
    default = metric()
    better = {True: ", higher is better", False: ", lower is better", None: ""}[default.higher_is_better]
    if isinstance(inspect.getattr_static(metric, "higher_is_better"), property):
        better += " with the default settings"
    low, high = (f"{end:g}".replace("inf", "∞") for end in default.range)
    return f"float32 (N,) in [{low}, {high}]{better}{undefined}."


def _sections(text: str) -> dict[str, str]:
    """Return the parts of a docstring by their headings, what precedes them under ``""``."""
    parts = re.split(r"^(Args|Raises|Example|Attributes|Returns):\n", text, flags=re.MULTILINE)
    return {"": parts[0].strip(), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def _entries(text: str) -> dict[str, str]:
    """Return the texts of an ``Args`` section by argument, continuation lines indented by eight spaces."""
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: said.strip() for name, said in entries}


def _indented(text: str) -> str:
    return "\n".join(line for line in text.rstrip().splitlines() if line.strip())
