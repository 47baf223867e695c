"""Infidelity."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate
from lightning_xai.evidence.removal.perturbation_response import PerturbationResponse
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def infidelity(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    perturbation: Literal["square", "gaussian"] = "square",
    num_samples: int = 64,
    baseline: float = 0.0,
    sigma: float = 0.2,
    normalize: bool = False,
    relative: bool = False,
    seed: int = 0,
) -> Tensor:
    """Return the infidelity of each image, float32 (N,) ≥ 0, lower is better; see `Infidelity`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        perturbation: A square of side H // 4 that goes to the baseline, or gaussian noise.
        num_samples: Perturbations per image.
        baseline: What the square becomes.
        sigma: Standard deviation of gaussian noise, in the units of the images.
        normalize: Whether the heatmap is first scaled by the factor that fits the responses best.
        relative: Whether the error is divided by the mean squared real response.
        seed: Of places and noise.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> infidelity(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = Infidelity(perturbation, num_samples, baseline, sigma, normalize, relative, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class Infidelity(ExplanationMetric):
    """How wrong are the heatmap's predictions of what random perturbations do?

    ``E_I[(Σ_{c,p} I_cp m_p − (y(x) − y(x − I)))²]`` over random perturbations I, with the raw heatmap m on every
    channel and ``y`` the logit of the target class; ≥ 0, lower is better. ``normalize=True`` multiplies m by β = E[(Σ
    I m) Δy] / E[(Σ I m)²] first, so that only the shape of a map counts; ``relative=True`` divides by E[Δy²].
    Undefined for degenerate heatmaps and where no perturbation moves the logit. Without ``normalize`` the scale of a
    map decides: class activation maps, which promise no scale, need it. Fake-CAM gains nothing but the best constant.

    Evaluations per image: ``num_samples + 1``, the unchanged image shared.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019,
    https://arxiv.org/abs/1901.09392.

    Args:
        perturbation: A square of side H // 4 that goes to the baseline, or gaussian noise.
        num_samples: Perturbations per image.
        baseline: What the square becomes.
        sigma: Standard deviation of gaussian noise, in the units of the images.
        normalize: Whether the heatmap is first scaled by the factor that fits the responses best.
        relative: Whether the error is divided by the mean squared real response.
        seed: Of places and noise.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = Infidelity()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    can_be_undefined = True

    def __init__(
        self,
        perturbation: Literal["square", "gaussian"] = "square",
        num_samples: int = 64,
        baseline: float = 0.0,
        sigma: float = 0.2,
        normalize: bool = False,
        relative: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [PerturbationResponse(perturbation, num_samples, baseline, sigma, seed)],
            {"normalize": normalize, "relative": relative},
            **kwargs,
        )

    def score(self, case: Case) -> Tensor:
        """Return the mean squared error of the predictions, (N,); NaN where undefined."""
        response = case[self.evidence[0]]
        predicted, real = response.predicted, response.real
        if self.settings["normalize"]:
            power = predicted.square().mean(1, keepdim=True)
            predicted = predicted * torch.where(power > 0, (predicted * real).mean(1, keepdim=True) / power, 0.0)
        error, effect = (predicted - real).square().mean(1), real.square().mean(1)
        error = error / effect if self.settings["relative"] else error
        return torch.where(is_degenerate(case.heatmaps) | (effect == 0), torch.nan, error)
