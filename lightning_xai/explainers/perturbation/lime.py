"""LIME."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_xai._baseline import Baseline
from lightning_xai._checks import check_at_least
from lightning_xai.explainers.perturbation.surrogate_explainer import SurrogateExplainer


class LIME(SurrogateExplainer):
    """Fit a linear model to the class probability of the image with random segments hidden, near ones counting more.

    ``argmin_{w, b} Σ_s π_s (f(x_s) − b − w·z_s)² + ridge ‖w‖²`` where z_s says which segments image x_s shows, f is
    the probability and ``π_s = exp(−d_s² / (2 kernel_width²))`` with the cosine distance ``d_s = 1 − √(|z_s| / M)`` of
    the coalition from all M segments. A segment's heat is its coefficient, in units of probability; signed. Sample 0 is
    the image itself, in the others each segment is seen with probability 1/2. Costs ``num_samples`` evaluations.

    Source: Ribeiro et al., "Why Should I Trust You? Explaining the Predictions of Any Classifier", KDD 2016,
    https://arxiv.org/abs/1602.04938. Kernel and ridge are the authors' code's for images; the paper's K-LASSO keeps
    few segments instead of a map, and captum's default, a lasso with α = .01, sets almost every coefficient of a
    probability to 0. The system is solved in closed form, in double precision.

    Args:
        segments: See `SurrogateExplainer`.
        grid: See `SurrogateExplainer`.
        num_samples: Coalitions, the image itself included.
        baseline: See `SurrogateExplainer`.
        kernel_width: How far a coalition still counts; the cosine distance is at most 1.
        ridge: Strength of the regularisation, > 0.
        seed: See `SurrogateExplainer`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> class Mean(torch.nn.Module):
        ...     def forward(self, x):
        ...         score = x.mean((2, 3)) @ torch.tensor([[1.0]])  # one logit, whose probability is the mean
        ...         return torch.logit(score)
        >>> LIME(grid=2, ridge=1e-6)(Mean(), torch.tensor([[[[0.4, 0.8], [0.8, 0.8]]]]), target=1)
        tensor([[[0.1000, 0.2000],
                 [0.2000, 0.2000]]])
    """

    def __init__(
        self,
        segments: Literal["grid", "slic"] = "grid",
        grid: int | None = None,
        num_samples: int = 1000,
        baseline: Baseline = 0.0,
        kernel_width: float = 0.25,
        ridge: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(segments, grid, num_samples, baseline, seed)
        check_at_least(kernel_width, 0.0, "kernel_width", strict=True)
        check_at_least(ridge, 0.0, "ridge", strict=True)
        self.kernel_width = kernel_width
        self.ridge = ridge

    def coalitions(self, segments: int, device: torch.device) -> Tensor:
        """Return which segments are seen, boolean (num_samples, segments); all of them in row 0."""
        seen = self.drawn(segments, self.num_samples, device) < 0.5
        seen[0] = True
        return seen

    def coefficients(self, coalitions: Tensor, scores: Tensor) -> Tensor:
        """Return w, float64 (n, segments)."""
        distance = 1.0 - coalitions.mean(1).sqrt()
        weight = torch.exp(-0.5 * (distance / self.kernel_width) ** 2)
        share = weight / weight.sum()
        rows = coalitions - share @ coalitions  # without weighed means, the intercept is not part of the system
        weighed = rows * weight[:, None]
        gram = weighed.T @ rows + self.ridge * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        solved: Tensor = torch.linalg.solve(gram, weighed.T @ (scores - (scores @ share)[:, None]).T)
        return solved.T
