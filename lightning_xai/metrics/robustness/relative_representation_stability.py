"""Relative representation stability."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.neighbours.neighbour_outputs import OutputChanges
from lightning_xai.metrics.relative_stability import RelativeStability


class RelativeRepresentationStability(RelativeStability):
    """How much does the heatmap change for the change of the features, where the prediction does not?

    ``max_j (‖m(x) − m(x_j)‖ / ‖m(x)‖) / (‖a(x) − a(x_j)‖ / ‖a(x)‖)`` with the activations a of the explainer's
    (first) ``target_layer``, or of ``"auto"`` if it has none, over those copies ``x_j = x + ε_j``, ε uniform in
    (−radius, radius), whose largest logit is that of x; raw heatmaps of the clean image's class, denominators at least
    1e-6; ≥ 0, lower is better. Undefined for a zero heatmap, and where no copy keeps the prediction. Every map that
    ignores the image is perfectly stable, Fake-CAM too: read it beside faithfulness.

    Evaluations per image: ``num_samples`` heatmaps, shared with `MaxSensitivity` at equal noise, and
    ``num_samples + 1``, shared by the three relative stabilities. ``"elementwise"`` makes its own ``num_samples``
    heatmaps.

    Source: Agarwal et al., "Rethinking Stability for Attribution-based Explanations", 2022,
    https://arxiv.org/abs/2203.06877. There and in Quantus every change is divided element by element, which explodes on
    rectified maps and activations; Quantus joins the outputs of all layers, makes an image undefined if one copy
    changes the prediction, and uses 200 copies of noise 0.2.

    Args:
        radius: Half width of the uniform noise, as a share of the range of the values; see `Neighbourhood`.
        num_samples: Noisy copies per image.
        relative: ``"norm"``, or ``"elementwise"`` as published: ``‖(m(x) − m(x_j)) / m(x)‖ / ‖(a(x) − a(x_j)) /
            a(x)‖``, zeros among the divisors replaced by 1e-6.
        seed: Of the noise.
        absolute: Whether ``radius`` is in the units of the images instead.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import InputXGradient
        >>> features, head = torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.Linear(2, 1)
        >>> features.weight.data, head.weight.data = torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 2)
        >>> net = torch.nn.Sequential(features, torch.nn.Flatten(), head)
        >>> metric = RelativeRepresentationStability()
        >>> images = torch.tensor([[[[3.0, 4.0]]]])  # features and heatmap: twice as much, and so their changes
        >>> metric.update(model=net, images=images, explainer=InputXGradient(), target=1)
        >>> metric.compute().round(decimals=3)
        tensor(1.)
    """

    def denominator(self, outputs: OutputChanges) -> Tensor:
        """Return the relative change of the activations, (N, J)."""
        if outputs.activations is None:
            raise ValueError(
                "Expected the model to hold feature maps, whose change RelativeRepresentationStability reads, but "
                "target_layer='auto' found none. Use an explainer whose `target_layer` names a layer with feature maps."
            )
        return outputs.activations
