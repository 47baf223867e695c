"""Completeness."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import BaselineLogits, Logits
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def completeness(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    baseline: float = 0.0,
    relative: bool = True,
) -> Tensor:
    """Return the completeness error of each image, float32 (N,) ≥ 0, lower is better; see `Completeness`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the images, float (N, H, W); made by ``explainer`` if None.
        baseline: Value of the image from which the explainer attributes.
        relative: Whether the error is divided by the difference of logits.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> from lightning_xai import CenterHeatmap
        >>> class Promising(CenterHeatmap):
        ...     completeness = True
        >>> completeness(net, torch.rand(3, 1, 4, 4), Promising(), target=1).shape
        torch.Size([3])
    """
    metric = Completeness(baseline, relative)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


class Completeness(ExplanationMetric):
    """Does the heatmap add up to the score that it explains?

    ``|Σm − Δy| / max(|Δy|, 1e-6)`` with ``Δy = y(x) − y(baseline)``, ``y`` the logit of the target class and the *raw*
    heatmap; ≥ 0, lower is better; ``relative=False`` leaves the division out. Only for explainers that promise it
    (`Explainer.completeness`), such as integrated gradients; class activation maps and Fake-CAM promise nothing of the
    kind.

    Evaluations per image: 2, the unchanged image shared.

    Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017,
    https://arxiv.org/abs/1703.01365.

    Args:
        baseline: Value of the image from which the explainer attributes.
        relative: Whether the error is divided by the difference of logits.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range; when updated, if the explainer does not promise completeness, or
            promises it from another baseline.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> from lightning_xai import CenterHeatmap
        >>> class Promising(CenterHeatmap):
        ...     completeness = True
        >>> metric = Completeness()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), explainer=Promising(), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    needs = frozenset({"explainer"})

    def __init__(
        self,
        baseline: float = 0.0,
        relative: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__([BaselineLogits(baseline), Logits()], {"relative": relative}, **kwargs)
        self.baseline = baseline

    def score(self, case: Case) -> Tensor:
        """Return the error, (N,)."""
        if not case.explainer.completeness:
            raise ValueError(
                f"Expected `explainer` to promise completeness for Completeness, but {type(case.explainer).__name__} "
                "does not. Use a method such as integrated gradients."
            )
        declared = case.explainer.settings().get("baseline", self.baseline)
        if declared != self.baseline:
            raise ValueError(
                f"Expected `baseline` to be {declared}, from which {type(case.explainer).__name__} attributes, but got "
                f"{self.baseline}."
            )
        classifier = case.classifier
        change = classifier.select(case.logits, case.target) - classifier.select(case[self.evidence[0]], case.target)
        error = (case.heatmaps.flatten(1).sum(1) - change).abs()
        return error / change.abs().clamp(min=1e-6) if self.settings["relative"] else error
