"""Fake-CAM, the control that fools masking metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier


class FakeCAM(Explainer):
    """Return ones everywhere but 0 in the top left pixel: an explanation of nothing.

    Masking an image by it changes one pixel, so average drop is near 0 and "increase" near 50 %: a metric on which
    this control scores well does not measure faithfulness. Costs no evaluation.

    Source: Poppi et al., "Revisiting The Evaluation of Class Activation Mapping for Explainability", CVPRW 2021,
    https://arxiv.org/abs/2104.10252.

    Example:
        >>> import torch
        >>> FakeCAM()(torch.nn.Flatten(), torch.zeros(1, 1, 2, 2), target=0)
        tensor([[[0., 1.],
                 [1., 1.]]])
    """

    evaluations = 0
    class_discriminative = False

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:  # noqa: ARG002
        """Return ones with a zero at [0, 0]."""
        heatmaps = torch.ones_like(images[:, 0], dtype=torch.float32)
        heatmaps[:, 0, 0] = 0.0
        return heatmaps
