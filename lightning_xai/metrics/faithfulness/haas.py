"""HAAS, the heatmap-assisted accuracy score."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage, Normalization
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class HAAS(ExplanationMetric):
    """Does the model get better when the image is enhanced by its heatmap?

    Accuracy on ``clip(x_n (1 + m_n), −1, 1)`` over accuracy on x, where x_n is the image scaled to [-1, 1] and m_n the
    heatmap of the *label* divided by its largest magnitude, so that a heatmap of zeros changes nothing;
    ``normalize="minmax"`` scales it to [-1, 1], so that the coldest pixels turn grey, and is undefined for a
    degenerate one. ≥ 0, above 1 is good, higher is better. A ratio of two counts over all defined images: NaN if none
    is classified correctly. Fake-CAM fools it if brightening helps: any map of ones does the same.

    Evaluations per image: 2, the unchanged image shared.

    Source: Lee et al., "Heatmap Assisted Accuracy Score Evaluation Method for Machine-Centric Explainable Deep Neural
    Networks", IEEE Access 2022, https://doi.org/10.1109/ACCESS.2022.3184453, as restated by Lamprou, "Grad-CAM vs
    HiResCAM", 2023, eq. 9-10.

    Args:
        value_range: Least and greatest value that an image can have; each image's own range if None.
        normalize: How the heatmap is scaled: ``"max_abs"`` or ``"minmax"``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.ones(1, 2)
        >>> images = torch.tensor([[[[0.6, -0.7]]], [[[0.6, 0.7]]]])  # logits -0.1 and 1.3
        >>> heatmaps = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])  # what shall be doubled: logits 0.3 and 1.7
        >>> metric = HAAS(value_range=(-1.0, 1.0))
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # both correct over one correct
        tensor(2.)
    """

    higher_is_better = True
    range = (0.0, float("inf"))
    inputs = frozenset({"heatmaps", "target"})

    def __init__(
        self,
        value_range: tuple[float, float] | None = None,
        normalize: Normalization = "max_abs",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.value_range = value_range
        self.normalize: Normalization = normalize
        self.enhanced = MaskedImage("enhanced", value_range=value_range, normalize=normalize)
        self.logits = Logits()
        if normalize == "minmax":
            self.can_be_undefined = True  # type: ignore[misc] # a constant heatmap has no minimum and maximum

    def score(self, case: Case) -> Tensor:
        """Return correctness of the image and of the enhanced image, (N, 2); NaN where the heatmap has no scale."""
        intact, enhanced = case[self.logits], case[self.enhanced]
        correct = torch.stack([logits.argmax(1) == case.target for logits in (intact, enhanced)], 1).float()
        return torch.where(enhanced.isnan().any(1, keepdim=True), torch.nan, correct)

    def per_image(self, rows: Tensor) -> Tensor:
        """Return the difference that the heatmap makes to correctness, in {-1, 0, 1}, higher is better."""
        return rows[:, 1] - rows[:, 0]

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the ratio of accuracies."""
        before, after = rows.nansum(0)
        return torch.where(before > 0, after / before, torch.nan)
