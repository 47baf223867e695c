"""Occlusion."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_count
from lightning_xai.explainers.perturbation.perturbation_explainer import (
    PerturbationExplainer,
    both_sides_of,
    exact_side,
)
from lightning_xai.model.classifier import Classifier


class Occlusion(PerturbationExplainer):
    """Show by how much the class probability falls while a small window hides each part of the image.

    ``mean_{w ∋ pixel} (f(x) − f(x without w))`` over the windows w that cover a pixel; f is the probability, so the map
    is signed and in [-1, 1]: negative where what is hidden speaks against the class. Differences of probabilities that
    round to 1 are exact. Windows start at every
    ``stride`` pixels; the last of a line is cut off at the border where the stride does not divide it, as in captum,
    whose values these are. Costs one evaluation per window and one for the image: 730 at 224 × 224.

    Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
    https://arxiv.org/abs/1311.2901. The paper leaves window, stride and overlap open.

    Args:
        window: Side of the square window in pixels; a 14th of the image's height if None.
        stride: Pixels between windows; half the window if None.
        baseline: What hidden values become; see `baseline_images`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range, or the stride leaves gaps between windows.

    Example:
        >>> import torch
        >>> class Mean(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.flatten(1).sum(1).log()  # one logit: its probability is x / (1 + x)
        >>> Occlusion(window=1)(Mean(), torch.tensor([[[[2.0, 1.0]]]]), target=1)  # 3/4 - 1/2, 3/4 - 2/3
        tensor([[[0.2500, 0.0833]]])
    """

    def __init__(self, window: int | None = None, stride: int | None = None, baseline: Baseline = 0.0) -> None:
        if window is not None:
            check_count(window, "window")
        if stride is not None:
            check_count(stride, "stride")
        if window is not None and stride is not None and stride > window:
            raise ValueError(
                f"Expected `stride` to be at most `window`, {window}, so that no pixel is left out, but got {stride}."
            )
        self.window = window
        self.stride = stride
        self.baseline = checked_baseline(baseline)

    @property
    def evaluations(self) -> None:
        """None: the number of windows depends on the image's size."""

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return maps (n, H, W)."""
        height, width = images.shape[2:]
        window = self.window or max(1, height // 14)
        stride = self.stride or max(1, window // 2)
        if stride > window:
            raise ValueError(
                f"Expected `stride` to be at most the window, {window} pixels here, so that no pixel is left out, but "
                f"got {stride}."
            )
        down, across = (_windows(length, window, stride, images.device) for length in (height, width))
        windows = (len(down), len(across))
        replaced = baseline_images(images, self.baseline).expand_as(images)

        def build(image: Tensor, version: Tensor) -> Tensor:
            hidden = down[version // windows[1]][:, :, None] & across[version % windows[1]][:, None, :]
            return torch.where(hidden[:, None], replaced[image], images[image])

        read = both_sides_of(classifier, target)
        hidden = self.version_scores(classifier, images, windows[0] * windows[1], build, read)
        intact = self.version_scores(classifier, images, 1, lambda image, _: images[image], read)
        drops = exact_side(intact, intact[:, 0]) - exact_side(hidden, intact[:, 0])
        rows, columns = down.float(), across.float()
        return rows.T @ drops.view(-1, *windows) @ columns / (rows.sum(0)[:, None] * columns.sum(0))


def _windows(length: int, window: int, stride: int, device: torch.device) -> Tensor:
    """Return which pixels of a line each window covers, boolean (windows, length)."""
    count = max(0, -(-(length - window) // stride)) + 1
    start = torch.arange(count, device=device)[:, None] * stride
    pixel = torch.arange(length, device=device)
    return (pixel >= start) & (pixel < start + window)
