"""From values per image to what is logged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_xai.callbacks.keys import CONTROL, GAIN, UNDEFINED
from lightning_xai.callbacks.study import Findings
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.suite import MetricSuite
from lightning_xai.metrics.uncertainty import standard_error

Value = tuple[float, float]
"""A value and its standard error over the probe, NaN where it has none."""


def metric_values(rows: Mapping[str, Tensor], control: Mapping[str, Tensor], suite: MetricSuite) -> dict[str, Value]:
    """Return the values of one explainer by the name of their `Key`.

    Args:
        rows: Metric -> values per image.
        control: The same for the random control.
        suite: The metrics.
    """
    values: dict[str, Value] = {}
    for name, metric in suite.explanation_metrics().items():
        values[name] = _value(rows[name], metric)
        if metric.logs_gain and name in control:
            sign = 1.0 if metric.higher_is_better else -1.0
            values[name + GAIN] = _value(sign * (rows[name] - control[name]), metric)
        if metric.can_be_undefined:
            undefined = rows[name].isnan().flatten(1).any(1) if rows[name].ndim > 1 else rows[name].isnan()
            values[UNDEFINED + name] = float(undefined.sum()), torch.nan
    return values


def control_values(control: Mapping[str, Tensor], suite: MetricSuite) -> dict[str, Value]:
    """Return the values of the random control by the name of their `Key`."""
    metrics = suite.explanation_metrics()
    return {CONTROL + name: _value(rows, metrics[name]) for name, rows in control.items()}


def probe_values(found: Findings, classes: Tensor, task: str) -> dict[str, Value]:
    """Return accuracy and confidence on the probe.

    Args:
        found: Logits and targets.
        classes: Class that each image stands for, -1 where none; these are left out of the accuracy.
        task: ``"multilabel"`` asks whether the class's probability exceeds 0.5; else whether it is the greatest.
    """
    if task == "multilabel":
        asked = torch.where(classes >= 0, classes, found.target)
        confidence = torch.sigmoid(found.logits).gather(1, asked[:, None])[:, 0]
        correct = confidence > 0.5
    else:
        probabilities = torch.sigmoid(found.logits) if task == "binary" else found.logits.softmax(1)
        confidence, predicted = probabilities.max(1)
        correct = predicted == classes
    known = correct[classes >= 0].float()
    return {"probe_accuracy": _mean(known), "probe_confidence": _mean(confidence)}


def _value(rows: Tensor, metric: ExplanationMetric) -> Value:
    return float(metric.aggregate(rows)), float(standard_error(rows, metric.aggregate))


def _mean(values: Tensor) -> Value:
    return float(values.mean()) if len(values) else torch.nan, float(standard_error(values))
