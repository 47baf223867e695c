"""Heat at the pixel of a one-pixel attack."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import normalized
from lightning_xai.evidence.neighbours.one_pixel_attack import OnePixel, OnePixelAttack, OnePixelHeatmaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.correlation import average_ranks
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def one_pixel_sensitivity(
    model: Model,
    images: Tensor,
    heatmaps: Tensor | None,
    target: Tensor | int,
    *,
    explainer: Explainer | None = None,
    when: Literal["before", "after"] = "before",
    population: int = 32,
    generations: int = 20,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the heat at the pixel whose change breaks each prediction; see `OnePixelSensitivity`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw; made by ``explainer`` if None.
        target: Class per image, int64 (N,), or one class for all.
        explainer: Makes the heatmaps of attacked images for ``when="after"``.
        when: Whether the heat is that of the image ``"before"`` or ``"after"`` the attack.
        population: Candidates per generation of the attack.
        generations: Rounds of the attack after the first.
        seed: Of the attack.

    Returns:
        Normalised heat, float32 (N,) in [0, 1], its rank share, float32 (N,) in [0, 1], both NaN where undefined; and
        success, float32 (N,) in {0, 1}.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
        >>> _ = torch.nn.init.zeros_(net[1].weight)
        >>> heatmaps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
        >>> one_pixel_sensitivity(net, torch.rand(1, 1, 2, 2), heatmaps, target=0, generations=1)
        (tensor([nan]), tensor([nan]), tensor([0.]))
    """
    metric = OnePixelSensitivity(when, population, generations, seed)
    heat, share, success = metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer)).unbind(1)
    return heat, share, success


class OnePixelSensitivity(ExplanationMetric):
    """Does the heatmap light up at the one pixel whose change breaks the prediction?

    Min-max normalised heat at the pixel of a successful one-pixel attack, in [0, 1], higher is better; `rank_share`
    says beside it where that pixel ranks among all (0 coldest, 1 hottest, 0.5 by chance, ties by their mean rank), and
    `successes` how many attacks that rests on. The attack searches position and value of one pixel by differential
    evolution against the predicted class; it succeeds if another class has the largest logit then. Undefined without
    success, where the target is not the predicted class (the heatmap explains another one), and for a degenerate
    heatmap. Fake-CAM fools the heat (1 nearly everywhere), not the rank share (0.5): read both.

    Evaluations per image: ``population · (generations + 1)``, 673 by default with the unchanged image, shared by all
    heatmaps of the same images; with ``when="after"`` also 1 heatmap.

    Source: Su et al., "One Pixel Attack for Fooling Deep Neural Networks", 2019, https://arxiv.org/abs/1710.08864, with
    400 candidates, 100 generations and rand/1 steps; the reading is table 6 of Nagy et al., "Analysis and Evaluation of
    Grad-CAM Explanations". We use scipy's best/1 steps, which need fewer rounds.

    Args:
        when: Whether the heat is that of the image ``"before"`` or ``"after"`` the attack, for the same class.
        population: Candidates per generation, at least 6.
        generations: Rounds after the first.
        seed: Of the attack.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
        >>> _ = torch.nn.init.zeros_(net[1].weight)
        >>> heatmaps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
        >>> metric = OnePixelSensitivity(generations=1)
        >>> metric.update(model=net, images=torch.rand(1, 1, 2, 2), heatmaps=heatmaps, target=0)
        >>> metric.compute(), metric.successes()
        (tensor(nan), 0)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        when: Literal["before", "after"] = "before",
        population: int = 32,
        generations: int = 20,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        check_choice(when, ("before", "after"), "when")
        attack = OnePixelAttack(population, generations, seed)
        evidence = [attack] if when == "before" else [attack, OnePixelHeatmaps(attack)]
        super().__init__(evidence, {"when": when}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return heat, rank share and success, (N, 3); the first two NaN where undefined."""
        found: OnePixel = case[self.evidence[0]]
        heatmaps: Tensor = case.heatmaps if self.settings["when"] == "before" else case[self.evidence[1]]
        success = found.success & (found.attacked == case.target)
        heat, rank = (
            rows.gather(1, found.place[:, None])[:, 0]
            for rows in (normalized(heatmaps).flatten(1), average_ranks(heatmaps))
        )
        share = (rank - 1) / max(heatmaps[0].numel() - 1, 1)
        read = torch.where(success[:, None], torch.stack([heat, share], 1), torch.nan)
        return torch.cat([read, success[:, None].float()], 1)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean heat over successful attacks."""
        return rows[:, 0].nanmean()

    def rank_share(self) -> Tensor:
        """Return the mean rank share over the successful attacks so far on this process, in [0, 1]."""
        rows = self.rows
        return rows[:, 1].nanmean() if len(rows) else rows.new_tensor(torch.nan)

    def successes(self) -> int:
        """Return the number of successful attacks so far on this process."""
        rows = self.rows
        return int(rows[:, 2].sum()) if len(rows) else 0
