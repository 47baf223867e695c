"""Relative output stability."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.neighbours.neighbour_outputs import OutputChanges
from lightning_xai.metrics.relative_stability import RelativeStability


class RelativeOutputStability(RelativeStability):
    """How much does the heatmap change for the change of the logits, where the prediction does not?

    ``max_j (‖m(x) − m(x_j)‖ / ‖m(x)‖) / ‖y(x) − y(x_j)‖₂`` with all logits y, over those copies ``x_j = x + ε_j``,
    ε uniform in (−radius, radius), whose largest logit is that of x; raw heatmaps of the clean image's class,
    denominators at least 1e-6; ≥ 0, in units of one over the logit's, lower is better: it falls while logits grow, so
    compare epochs with care. Undefined for a zero heatmap, and where no copy keeps the prediction. Every map that
    ignores the image is perfectly stable, Fake-CAM too: read it beside faithfulness.

    Evaluations per image: ``num_samples`` heatmaps, shared with `MaxSensitivity` at equal noise, and
    ``num_samples + 1``, shared by the three relative stabilities. ``"elementwise"`` makes its own ``num_samples``
    heatmaps.

    Source: Agarwal et al., "Rethinking Stability for Attribution-based Explanations", 2022,
    https://arxiv.org/abs/2203.06877. There and in Quantus the change of the heatmap is divided element by
    element, which explodes on rectified maps; Quantus also makes an image undefined if one copy changes the
    prediction, and uses 200 copies of noise 0.2.

    Args:
        radius: Half width of the uniform noise, as a share of the range of the values; see `Neighbourhood`.
        num_samples: Noisy copies per image.
        relative: ``"norm"``, or ``"elementwise"`` as published: ``‖(m(x) − m(x_j)) / m(x)‖``, zeros among the divisors
            replaced by 1e-6; the change of the logits is absolute in either.
        seed: Of the noise.
        absolute: Whether ``radius`` is in the units of the images instead.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import InputXGradient
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2, bias=False))
        >>> net[1].weight.data = torch.tensor([[2.0], [0.0]])
        >>> metric = RelativeOutputStability()
        >>> images = torch.tensor([[[[4.0]]]])  # noise of e changes the heatmap by the share e / 4, the logits by 2e
        >>> given = {
        ...     "explainer": InputXGradient(),
        ...     "target": 0,
        ...     "value_range": (0.0, 4.0),
        ... }  # one pixel alone has no range
        >>> metric.update(model=net, images=images, **given)
        >>> metric.compute().round(decimals=3)
        tensor(0.1250)
    """

    def denominator(self, outputs: OutputChanges) -> Tensor:
        """Return the distance of the logits, (N, J)."""
        return outputs.logits
