"""Images on their way to nothing."""

from __future__ import annotations

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_at_least
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.probing.sample import Sample


class AlphaScaling(Transform):
    """Scale the image towards a baseline: ``b + α (x − b)``, which is x at α = 1 and b at α = 0.

    With the baseline 0 it is αx, along which saturated networks stop to answer; see `Saturation`.

    Args:
        alpha: α in [0, 1].
        baseline: b; see `baseline_images`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> AlphaScaling(0.5, baseline="mean")(Sample(torch.tensor([[[[0.0, 4.0]]]]))).images
        tensor([[[[1., 3.]]]])
    """

    def __init__(self, alpha: float, baseline: Baseline = 0.0) -> None:
        check_at_least(alpha, 0.0, "alpha")
        if alpha > 1.0:
            raise ValueError(f"Expected `alpha` to be at most 1, but got {alpha}.")
        self.alpha = alpha
        self.baseline = checked_baseline(baseline)

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """See `Transform`."""
        images = sample.images
        keys = surroundings.keys.to(images.device)
        baseline = baseline_images(images, self.baseline, keys, seed=surroundings.seed)
        return with_images(sample, baseline + self.alpha * (images - baseline))
