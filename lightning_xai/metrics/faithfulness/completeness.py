"""Completeness."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import BaselineLogits, Logits
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        baseline: From what the explainer attributes; see `baseline_images`.
        relative: Whether the error is divided by the difference of logits.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range; when updated, if the explainer does not promise completeness, or
            promises it from another baseline.

    Example:
        >>> import torch
        >>> from lightning_xai import IntegratedGradients
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.ones(1, 2)
        >>> images, heatmaps = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = Completeness()
        >>> explainer = IntegratedGradients()  # promises completeness
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, explainer=explainer, target=1)
        >>> metric.compute()  # the heat sums to 3, the logit rises by 4
        tensor(0.2500)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    inputs = frozenset({"heatmaps", "target", "explainer"})

    def __init__(
        self,
        baseline: Baseline = 0.0,
        relative: bool = True,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.baseline = checked_baseline(baseline)
        self.relative = relative
        self.baseline_logits = BaselineLogits(baseline)
        self.logits = Logits()

    def score(self, case: Case) -> Tensor:
        """Return the error, (N,)."""
        if not case.explainer.completeness:
            raise ValueError(
                f"Expected `explainer` to promise completeness for Completeness, but {type(case.explainer).__name__} "
                "does not. Use a method such as integrated gradients."
            )
        declared = checked_baseline(getattr(case.explainer, "baseline", self.baseline))
        if declared != self.baseline:
            raise ValueError(
                f"Expected `baseline` to be {declared!r}, from which {type(case.explainer).__name__} attributes, but "
                f"got {self.baseline!r}."
            )
        return self.error_of_sum(case)

    def error_of_sum(self, case: Case) -> Tensor:
        """Return by how much the heat misses the difference of the scores, (N,), whatever the explainer promises."""
        classifier = case.classifier
        from_logits, to_logits = case[self.baseline_logits], case[self.logits]
        change = classifier.select(to_logits, case.target) - classifier.select(from_logits, case.target)
        error = (case.heatmaps.flatten(1).sum(1) - change).abs()
        return error / change.abs().clamp(min=1e-6) if self.relative else error
