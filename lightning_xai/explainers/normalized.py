"""Another explainer's heatmaps, brought to a common range."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_xai._checks import check_choice
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier

Normalization = Literal["minmax", "max_abs", "signed_minmax", "rank"]


class Normalized(Explainer):
    """Normalise each heatmap of another explainer, so that post-processing is part of the method that is scored.

    Each image's map h is scaled by itself, after it was resized to the image:

    - ``"minmax"``: ``(h − min h) / (max h − min h)``, in [0, 1].
    - ``"max_abs"``: ``h / max |h|``, in [-1, 1]; 0 and signs stay.
    - ``"signed_minmax"``: ``2 (h − min h) / (max h − min h) − 1``, in [-1, 1]; the middle of the range becomes 0.
    - ``"rank"``: the share of the other pixels that are cooler, equal ones counting half, in [0, 1]: average ranks.

    A map whose values are all equal ranks nothing and becomes zeros; under ``"max_abs"``, which keeps signs, only one
    of zeros does. Scores that read the order of pixels alone are the same with and without; ``"rank"`` makes maps of
    any method comparable in scale, ``"max_abs"`` those of signed ones. It is class-discriminative, costs, refuses and
    needs references as the other explainer; completeness is lost with the unit.

    Args:
        explainer: Whose heatmaps.
        how: See above.

    Attributes:
        alias: Those of the explainer and of ``how``, such as ``"grad_cam_minmax"``.

    Raises:
        TypeError: If ``explainer`` is none.
        ValueError: If ``how`` is unknown.

    Example:
        >>> import torch
        >>> from lightning_xai import InputXGradient
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, -1.0, 0.0]])
        >>> explainer = Normalized(InputXGradient(), "max_abs")
        >>> explainer(net, torch.tensor([[[[2.0, 1.0, 1.0]]]]), target=1)  # of 4, -1 and 0
        tensor([[[ 1.0000, -0.2500,  0.0000]]])
        >>> explainer.alias
        'input_x_gradient_max_abs'
    """

    def __init__(self, explainer: Explainer, how: Normalization = "minmax") -> None:
        if not isinstance(explainer, Explainer):
            raise TypeError(f"Expected `explainer` to be an Explainer, but got {type(explainer).__name__}.")
        check_choice(how, ("minmax", "max_abs", "signed_minmax", "rank"), "how")
        self.explainer = explainer
        self.how: Normalization = how
        self.alias = f"{explainer.alias}_{how}"
        self.family = explainer.family
        self.class_discriminative = explainer.class_discriminative
        self.refuses = explainer.refuses
        self.shares_passes = explainer.shares_passes

    @property
    def evaluations(self) -> int | None:
        """As the explainer."""
        return self.explainer.evaluations

    @property
    def target_layer(self) -> Any:
        """That of the explainer; None if it has none."""
        return getattr(self.explainer, "target_layer", None)

    @property
    def picked(self) -> list[str]:
        """As the explainer."""
        return self.explainer.picked

    @property
    def needs_references(self) -> bool:
        """As the explainer."""
        return self.explainer.needs_references

    def with_references(self, references: Tensor) -> Self:
        """Return the same with ``references`` (R, C, H, W) for the explainer."""
        other = copy.copy(self)
        other.explainer = self.explainer.with_references(references)
        return other

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return normalised maps (n, H, W)."""
        return normalized(self.explainer(classifier, images, target), self.how)


def normalized(heatmaps: Tensor, how: Normalization) -> Tensor:
    """Return each of ``heatmaps`` (N, H, W) scaled by itself; see `Normalized`.

    Example:
        >>> heatmaps = torch.tensor([[[-1.0, 0.0, 0.0, 3.0]]])
        >>> [normalized(heatmaps, how).flatten().tolist() for how in ("minmax", "signed_minmax")]
        [[0.0, 0.25, 0.25, 1.0], [-1.0, -0.5, -0.5, 1.0]]
        >>> normalized(heatmaps, "rank")
        tensor([[[0.0000, 0.5000, 0.5000, 1.0000]]])
    """
    if how == "max_abs":
        peak = heatmaps.abs().amax((1, 2), keepdim=True)
        return heatmaps / torch.where(peak > 0, peak, 1.0)
    low, high = heatmaps.amin((1, 2), keepdim=True), heatmaps.amax((1, 2), keepdim=True)
    if how == "rank":
        return torch.where(high > low, _share_of_cooler(heatmaps.flatten(1)).view_as(heatmaps), 0.0)
    scaled = (heatmaps - low) / torch.where(high > low, high - low, 1.0)
    return scaled if how == "minmax" else torch.where(high > low, 2.0 * scaled - 1.0, 0.0)


def _share_of_cooler(values: Tensor) -> Tensor:
    """Return the share of the other values in each row (N, P) that are smaller, equal ones counting half."""
    ascending = values.sort(1).values
    smaller = torch.searchsorted(ascending, values)
    up_to_equal = torch.searchsorted(ascending, values, right=True)
    return (smaller + up_to_equal - 1) / (2.0 * max(values.shape[1] - 1, 1))
