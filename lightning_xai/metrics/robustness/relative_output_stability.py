"""Relative output stability."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbour_outputs import OutputChanges, Relative
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.relative_stability import RelativeStability
from lightning_xai.model.classifier import Model


def relative_output_stability(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    radius: float = 0.02,
    num_samples: int = 10,
    relative: Relative = "norm",
    seed: int = 0,
) -> Tensor:
    """Return the largest change of each image's heatmap per change of the logits.

    Float32 (N,) ≥ 0, NaN where undefined; see `RelativeOutputStability`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the clean images, float (N, H, W); made by ``explainer`` if None.
        radius: Half width of the uniform noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: ``"norm"`` or ``"elementwise"``; see the class.
        seed: Of the noise.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> relative_output_stability(net, torch.rand(1, 1, 4, 4), CenterHeatmap(), target=0)
        tensor([0.])
    """
    metric = RelativeOutputStability(radius, num_samples, relative, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


class RelativeOutputStability(RelativeStability):
    """How much does the heatmap change for the change of the logits, where the prediction does not?

    ``max_j (‖m(x) − m(x_j)‖ / ‖m(x)‖) / ‖y(x) − y(x_j)‖₂`` with all logits y, over those copies ``x_j = x + ε_j``,
    ε uniform in (−radius, radius), whose largest logit is that of x; raw heatmaps of the clean image's class,
    denominators at least 1e-6; ≥ 0, in units of one over the logit's, lower is better: it falls while logits grow, so
    compare epochs with care. Undefined for a zero heatmap, and where no copy keeps the prediction. Every map that
    ignores the image is perfectly stable, Fake-CAM too: read it beside faithfulness.

    Evaluations per image: ``num_samples`` heatmaps, shared with `MaxSensitivity` at equal noise, and
    ``num_samples + 1``,
    shared by the three relative stabilities. ``"elementwise"`` makes its own ``num_samples`` heatmaps.

    Source: Agarwal et al., "Rethinking Stability for Attribution-based Explanations", 2022,
    https://arxiv.org/abs/2203.06877. There and in Quantus the change of the heatmap is divided element by
    element, which explodes on rectified maps; Quantus also makes an image undefined if one copy changes the
    prediction, and uses 200 copies of noise 0.2.

    Args:
        radius: Half width of the uniform noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: ``"norm"``, or ``"elementwise"`` as published: ``‖(m(x) − m(x_j)) / m(x)‖``, zeros among the divisors
            replaced by 1e-6; the change of the logits is absolute in either.
        seed: Of the noise.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = RelativeOutputStability()
        >>> metric.update(model=net, images=torch.rand(1, 1, 4, 4), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()
        tensor(0.)
    """

    def denominator(self, outputs: OutputChanges) -> Tensor:
        """Return the distance of the logits, (N, J)."""
        return outputs.logits
