"""Heat at the pixel of a one-pixel attack."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import normalized
from lightning_xai.evidence.neighbours.one_pixel_attack import OnePixelAttack, OnePixelHeatmaps
from lightning_xai.metrics.correlation import average_ranks
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
        >>> net[1].weight.data = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> net[1].bias.data = torch.tensor([-1.0, 0.0])  # class 0 while the first pixel is above 1/2
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[3.0, 1.0]]])
        >>> metric = OnePixelSensitivity(generations=1)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=0)
        >>> metric.compute(), metric.rank_share(), metric.successes()
        (tensor(1.), tensor(1.), 1)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "target"})
    optional_inputs = frozenset({"explainer"})
    columns = ("heat", "rank_share", "success")
    can_be_undefined = True

    def __init__(
        self,
        when: Literal["before", "after"] = "before",
        population: int = 32,
        generations: int = 20,
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        check_choice(when, ("before", "after"), "when")
        super().__init__(**options)
        self.when: Literal["before", "after"] = when
        self.population = population
        self.generations = generations
        self.seed = seed
        self.attack = OnePixelAttack(population, generations, seed)
        self.attacked_heatmaps = OnePixelHeatmaps(self.attack) if when == "after" else None

    def score(self, case: Case) -> Tensor:
        """Return heat, rank share and success, (N, 3); the first two NaN where undefined."""
        attack = case[self.attack]
        heatmaps = case.heatmaps if self.attacked_heatmaps is None else case[self.attacked_heatmaps]
        success = attack.success & (attack.attacked == case.target)
        heat, rank = (
            rows.gather(1, attack.place[:, None])[:, 0]
            for rows in (normalized(heatmaps).flatten(1), average_ranks(heatmaps))
        )
        share = (rank - 1) / max(heatmaps[0].numel() - 1, 1)
        at_pixel = torch.where(success[:, None], torch.stack([heat, share], 1), torch.nan)
        return torch.cat([at_pixel, success[:, None].float()], 1)

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
