"""Relative representation stability."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.neighbour_outputs import OutputChanges, Relative
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.relative_stability import RelativeStability
from lightning_xai.model.classifier import Model


def relative_representation_stability(
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
    """Return the largest change of each image's heatmap per change of the activations.

    Float32 (N,) ≥ 0, NaN where undefined; see `RelativeRepresentationStability`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps. Activations are those of its ``target_layer``, or of ``"auto"``.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the clean images, float (N, H, W); made by ``explainer`` if None.
        radius: Half width of the uniform noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: ``"norm"`` or ``"elementwise"``; see the class.
        seed: Of the noise.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 2))
        >>> relative_representation_stability(net, torch.rand(1, 1, 4, 4), CenterHeatmap(), target=0)
        tensor([0.])
    """
    metric = RelativeRepresentationStability(radius, num_samples, relative, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


class RelativeRepresentationStability(RelativeStability):
    """How much does the heatmap change for the change of the features, where the prediction does not?

    ``max_j (‖m(x) − m(x_j)‖ / ‖m(x)‖) / (‖a(x) − a(x_j)‖ / ‖a(x)‖)`` with the activations a of the explainer's
    (first) ``target_layer``, or of ``"auto"`` if it has none, over those copies ``x_j = x + ε_j``, ε uniform in
    (−radius, radius), whose largest logit is that of x; raw heatmaps of the clean image's class, denominators at least
    1e-6; ≥ 0, lower is better. Undefined for a zero heatmap, and where no copy keeps the prediction. Every map that
    ignores the image is perfectly stable, Fake-CAM too: read it beside faithfulness.

    Evaluations per image: ``num_samples`` heatmaps, shared with `MaxSensitivity` at equal noise, and
    ``num_samples + 1``,
    shared by the three relative stabilities. ``"elementwise"`` makes its own ``num_samples`` heatmaps.

    Source: Agarwal et al., "Rethinking Stability for Attribution-based Explanations", 2022,
    https://arxiv.org/abs/2203.06877. There and in Quantus every change is divided element by element, which explodes on
    rectified maps and activations; Quantus joins the outputs of all layers, makes an image undefined if one copy
    changes the prediction, and uses 200 copies of noise 0.2.

    Args:
        radius: Half width of the uniform noise, in the units of the images.
        num_samples: Noisy copies per image.
        relative: ``"norm"``, or ``"elementwise"`` as published: ``‖(m(x) − m(x_j)) / m(x)‖ / ‖(a(x) − a(x_j)) /
            a(x)‖``, zeros among the divisors replaced by 1e-6.
        seed: Of the noise.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 2))
        >>> metric = RelativeRepresentationStability()
        >>> metric.update(model=net, images=torch.rand(1, 1, 4, 4), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()
        tensor(0.)
    """

    def denominator(self, outputs: OutputChanges) -> Tensor:
        """Return the relative change of the activations, (N, J)."""
        if outputs.activations is None:
            raise ValueError(
                "Expected the model to hold feature maps, whose change RelativeRepresentationStability reads, but "
                "target_layer='auto' found none. Use an explainer whose `target_layer` names a layer with feature maps."
            )
        return outputs.activations
