"""Infidelity."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate
from lightning_xai.evidence.removal.perturbation_response import Perturbation, PerturbationResponse
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class Infidelity(ExplanationMetric):
    """How wrong are the heatmap's predictions of what random perturbations do?

    ``E_I[(Σ_{c,p} I_cp m_p − (y(x) − y(x − I)))²]`` over random perturbations I, with the raw heatmap m on every
    channel and ``y`` the logit of the target class; ≥ 0, lower is better. ``normalize=True`` multiplies m by β = E[(Σ
    I m) Δy] / E[(Σ I m)²] first, so that only the shape of a map counts; ``relative=True`` divides by E[Δy²].
    Undefined for degenerate heatmaps and where no perturbation moves the logit. Without ``normalize`` the scale of a
    map decides, and that of the images, which stand in I: class activation maps, which promise neither, need it, and so
    do images in 0..255. Fake-CAM gains nothing but the best constant.

    Evaluations per image: ``num_samples + 1``, the unchanged image shared.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019,
    https://arxiv.org/abs/1901.09392.

    Args:
        perturbation: ``"square"``, one that goes to the baseline at a random place, or ``"gaussian"`` noise.
        num_samples: Perturbations per image.
        side: Of the square, in pixels; H // 4 if None.
        baseline: What the square becomes.
        sigma: Standard deviation of gaussian noise, as a share of the range of the values; see `PerturbationResponse`.
        normalize: Whether the heatmap is first scaled by the factor that fits the responses best.
        relative: Whether the error is divided by the mean squared real response.
        seed: Of places and noise.
        absolute: Whether ``sigma`` is in the units of the images instead.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range; when updated, if the square is larger than the images.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
        >>> net[1].weight.data = torch.ones(1, 4)
        >>> images, heatmaps = torch.ones(1, 1, 2, 2), torch.eye(2)[None]
        >>> metric = Infidelity(side=2)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # every square is the whole image: the heat says 2, the logit falls by 4
        tensor(4.)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    optional_inputs = frozenset({"value_range"})
    can_be_undefined = True

    def __init__(
        self,
        perturbation: Perturbation = "square",
        num_samples: int = 64,
        side: int | None = None,
        baseline: Baseline = 0.0,
        sigma: float = 0.2,
        normalize: bool = False,
        relative: bool = False,
        seed: int = 0,
        absolute: bool = False,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.perturbation: Perturbation = perturbation
        self.num_samples = num_samples
        self.side = side
        self.baseline = checked_baseline(baseline)
        self.sigma = sigma
        self.normalize = normalize
        self.relative = relative
        self.seed = seed
        self.absolute = absolute
        self.responses = PerturbationResponse(perturbation, num_samples, side, baseline, sigma, seed, absolute)

    def score(self, case: Case) -> Tensor:
        """Return the mean squared error of the predictions, (N,); NaN where undefined."""
        responses = case[self.responses]
        predicted, real = responses.predicted, responses.real
        if self.normalize:
            power = predicted.square().mean(1, keepdim=True)
            predicted = predicted * torch.where(power > 0, (predicted * real).mean(1, keepdim=True) / power, 0.0)
        error, effect = (predicted - real).square().mean(1), real.square().mean(1)
        error = error / effect if self.relative else error
        return torch.where(is_degenerate(case.heatmaps) | (effect == 0), torch.nan, error)
