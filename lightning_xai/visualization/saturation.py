"""What the model says while images grow from black to full intensity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.scaled_images import ScaledImages
from lightning_xai.visualization.mean_curve import draw_mean_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_saturation(case: Case, evidence: ScaledImages = ScaledImages()) -> Figure:  # noqa: B008 - frozen
    """Draw how like those of the full image the activations of α·x are, and how probable its target, over α.

    A curve that is flat over most of α is saturated: gradients at the full image say little about what made it so.

    Args:
        case: Images with target.
        evidence: Number of values of α, and the layer.

    Returns:
        A figure that pyplot does not know: save it, or let a notebook show it.

    Example:
        >>> import torch
        >>> from lightning_xai import GradCAM
        >>> conv = torch.nn.Conv2d(1, 2, 3)
        >>> net = torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> case = Case(net, torch.rand(2, 1, 8, 8), 1, explainer=GradCAM())
        >>> [line.get_label() for line in plot_saturation(case).axes[0].get_lines()]
        ['cosine with the activations of x', 'probability of the target']
    """
    from matplotlib.figure import Figure

    scaled = case[evidence]
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.subplots()
    alphas = torch.tensor(evidence.alphas).expand(len(case), -1)
    num_alphas = scaled.logits.shape[1]
    target = case.target.repeat_interleave(num_alphas)
    probabilities = case.classifier.select(scaled.logits.flatten(0, 1), target, "probability").view(
        len(case), num_alphas
    )
    defined = ~scaled.cosine.isnan().any(1)
    draw_mean_curve(
        axes, alphas[: int(defined.sum())], scaled.cosine[defined], "cosine with the activations of x", "C0"
    )
    draw_mean_curve(axes, alphas, probabilities, "probability of the target", "C1")
    axes.set(xlabel="intensity α of the image α·x", xlim=(0, 1.02), ylim=(None, 1.03))
    axes.grid(color="0.9")
    axes.legend(fontsize="small", title=f"mean of {len(case)} images ± standard error", title_fontsize="small")
    return figure
