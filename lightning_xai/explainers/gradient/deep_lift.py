"""DeepLIFT with the rescale rule."""

from __future__ import annotations

from torch import Tensor

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai.explainers.gradient.operations import ELEMENTWISE, MAX_POOLS, refusal
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.explainers.gradient.rescale import Rescale
from lightning_xai.model.backward.input_gradient import input_gradient
from lightning_xai.model.backward.operation_rules import ruled
from lightning_xai.model.classifier import Classifier

_INCOMPLETE, _ROUNDING = 1e-2, 1e-4
_refuse = refusal("DeepLIFT", ELEMENTWISE | MAX_POOLS, known="activation functions and max pooling")


class DeepLift(PixelExplainer):
    """Divide the change of score, from an empty image to this one, among the pixels in one backward pass.

    ``Σ_c (x − x')_c · m_c``, where m is the gradient with the slope ``Δout / Δin`` between x and the baseline x' in
    place of the derivative at each activation function (rescale rule): signed, unit of the logit. Complete: the map
    sums to ``y(x) − y(x')``, which is checked. Costs one evaluation per image, and one of the baseline per chunk, or
    per image where each has its own.

    Source: Shrikumar et al., "Learning Important Features Through Propagating Activation Differences", ICML 2017,
    https://arxiv.org/abs/1704.02685. Max pooling, which the paper leaves open, as in SHAP and captum: a change goes to
    the maximum of x as far as it rose, to that of x' as far as it fell. Every activation counts, be it a module, a
    function, in place or used twice, and windows of pooling may overlap; with captum's hooks on modules, functions are
    missed, reuse raises, overlaps lose score and a pooling right after a ReLU loses its rule. Where the inputs differ
    by less than 1e-6 of their size, the derivative is taken.

    Args:
        baseline: The image x'; see `baseline_images`.
        reduction: See `PixelExplainer`; only ``"sum"`` is complete.

    Raises:
        TypeError: If ``baseline`` is nothing that `baseline_images` takes.
        ValueError: When called, if an operation has no rule: normalisation over channels, softmax, attention, gates
            that multiply activations; or if the score of the image or of the baseline is not finite.
        RuntimeError: When called, if the model uses activation checkpointing.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU())
        >>> _ = nn.init.constant_(net[1].bias, -6.0)
        >>> net[1].weight.data = torch.tensor([[2.0, -1.0]])
        >>> DeepLift()(net, torch.tensor([[[[5.0, 1.0]]]]), target=1)  # 9 - 6 = 3 of the change by 9 passes
        tensor([[[ 3.3333, -0.3333]]])
    """

    evaluations = None
    shares_passes = True
    refuses = (
        "layer normalisation, softmax, attention and squeeze-and-excitation (EfficientNet, ConvNeXt, transformers)"
    )

    def __init__(self, baseline: Baseline = 0.0, *, reduction: Reduction = "sum") -> None:
        super().__init__(reduction=reduction)
        self.baseline = checked_baseline(baseline)

    @property
    def completeness(self) -> bool:
        """Whether channels are summed."""
        return self.reduction == "sum"

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return ``(x − x') ⊙ m``."""
        empty = baseline_images(images, self.baseline).expand(-1, *images.shape[1:])
        rescale = Rescale()
        with ruled(classifier, rescale.of_baseline, _refuse):
            reference = classifier.forward(empty.clone().requires_grad_().clone()).detach()
        with ruled(classifier, rescale.of_images, _refuse):
            multipliers, logits = input_gradient(classifier, images, lambda z: classifier.select(z, target))
        attributions = (images - empty) * multipliers
        before = classifier.select(reference.expand_as(logits), target)
        if rescale.in_full_precision:
            _check_complete(attributions, classifier.select(logits, target), before)
        return attributions


def _check_complete(attributions: Tensor, after: Tensor, before: Tensor) -> None:
    """Raise ValueError where the sum misses the change by more than rounding: an operation is not what it seemed."""
    _check_finite(after, before)
    error = (attributions.flatten(1).sum(1) - (after - before)).abs()
    rounding = _ROUNDING * (after.abs() + before.abs())
    excess = error - _INCOMPLETE * attributions.flatten(1).abs().sum(1) - rounding
    worst = int(excess.argmax())  # of several NaN or one, that
    if not bool(excess[worst] <= 0):
        change, total = float(after[worst] - before[worst]), float(attributions[worst].sum())
        raise ValueError(
            f"Expected DeepLIFT's map to sum to the change of the score, {change:.4g}, but got {total:.4g}: the "
            "network has an operation without a rule that is not seen (a custom autograd function, a scripted module). "
            "Use IntegratedGradients."
        )


def _check_finite(after: Tensor, before: Tensor) -> None:
    for scores, whose, advice in (
        (before, "baseline", "choose another `baseline`"),
        (after, "image", "check the image and the weights"),
    ):
        if not bool(scores.isfinite().all()):
            score = float(scores[~scores.isfinite()][0])
            raise ValueError(
                f"Expected finite scores for DeepLIFT, but got {score}: the score of the {whose} is not finite; "
                f"{advice}."
            )
