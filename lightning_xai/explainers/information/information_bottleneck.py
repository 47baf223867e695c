"""IBA, the information bottleneck for attribution."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai._checks import check_at_least, check_count
from lightning_xai._randomness import normal
from lightning_xai.explainers.information.bottleneck import Bottleneck
from lightning_xai.explainers.reference_explainer import ReferenceExplainer
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import capture
from lightning_xai.model.layer.forward_from_layer import ForwardFromLayer
from lightning_xai.model.layer.points import CapturePoint
from lightning_xai.model.layer.search import capture_points

_ACTIVE_SHARE = 0.01


class InformationBottleneck(ReferenceExplainer):
    """Replace feature maps by noise wherever the class score can do without them; show what has to stay (IBA).

    For each image alone, ``min_α CE + beta · mean KL[P(Z|R) ‖ Q(Z)]`` over the units R of the target layer, where
    ``Z = λR + (1 − λ)ε``, ``λ = blur(sigmoid(α))``, ε and Q are normal with the mean and standard deviation of each
    unit over the references, and CE = −ln p of the target, averaged over copies with different noise. The map is
    ``Σ_channels KL / ln 2``: bits at each place of the layer that the network may use there, ≥ 0 and comparable
    between images. Bits at different resolutions are not: the authors' code multiplies by hw / HW, which is constant.

    Costs one evaluation per image, one per reference for each chunk of images, and ``num_steps · num_copies`` passes
    per image through what comes after the layer, with their gradients. Noise belongs to (seed, step, copy), the same
    for every image.

    Source: Schulz et al., "Restricting the Flow: Information Bottlenecks for Attribution", ICLR 2020,
    https://arxiv.org/abs/2001.00396, eq. 1 to 6, per-sample bottleneck. As in its authors' code, units that at most a
    hundredth of the references activate stay 0 (few references tell nothing about their spread) and the blur is cut
    at 2σ; other than there, the map is that of the α after the last step. Information that goes around the layer, such
    as on a class token, is not restricted and not shown. The paper uses a layer in the middle of the network, whose
    map is finer than that of the last one.

    Args:
        target_layer: ``"auto"``, a dotted name or a module; see `LayerExplainer`.
        references: See `ReferenceExplainer`; at least two.
        beta: How much information costs; the more, the less remains.
        num_steps: Of Adam.
        num_copies: Of each image, with different noise, in a step.
        learning_rate: Of Adam.
        initial_alpha: α before the first step; 5 lets 99 % pass.
        blur: Standard deviation of the mask's blur, in places of the layer.
        min_std: The least standard deviation of a unit.
        seed: Of the noise.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range; when called, if there are fewer than two references.
        RuntimeError: When called, if the layer does not run or the score does not depend on it differentiably.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> net[2].weight.data = torch.tensor([[8.0, 0.0, 0.0, 0.0], [-8.0, 0.0, 0.0, 0.0]])
        >>> references = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
        >>> bottleneck = InformationBottleneck(references=references, blur=0.0)
        >>> bottleneck(net, torch.ones(1, 1, 2, 2), target=0)  # bits, in the only place that is read
        tensor([[[0.5849, 0.0008],
                 [0.0008, 0.0008]]])
    """

    shares_passes = True

    def __init__(
        self,
        target_layer: str | nn.Module = "auto",
        references: Tensor | None = None,
        *,
        beta: float = 10.0,
        num_steps: int = 10,
        num_copies: int = 10,
        learning_rate: float = 1.0,
        initial_alpha: float = 5.0,
        blur: float = 1.0,
        min_std: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(references)
        if not isinstance(target_layer, (str, nn.Module)):
            raise TypeError(f"Expected `target_layer` to be 'auto', a name or a module, but got {target_layer!r}.")
        for value, name in ((beta, "beta"), (blur, "blur")):
            check_at_least(value, 0.0, name)
        for value, name in ((learning_rate, "learning_rate"), (min_std, "min_std")):
            check_at_least(value, 0.0, name, strict=True)
        check_at_least(initial_alpha, -math.inf, "initial_alpha", strict=True)
        for count, name in ((num_steps, "num_steps"), (num_copies, "num_copies")):
            check_count(count, name)
        check_count(seed, "seed", least=-math.inf)
        self.target_layer = target_layer
        self.beta = beta
        self.num_steps = num_steps
        self.num_copies = num_copies
        self.learning_rate = learning_rate
        self.initial_alpha = initial_alpha
        self.blur = blur
        self.min_std = min_std
        self.seed = seed
        self._picked: list[str] = []

    @property
    def evaluations(self) -> None:
        """None: a chunk's images share the references', and the rest depends on the network."""

    @property
    def picked(self) -> list[str]:
        """What the last call captured, in words."""
        return list(self._picked)

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return maps (n, h, w) in bits, at the resolution of the layer."""
        references = self.references_for(images)
        if len(references) < 2:
            raise ValueError("Expected `references` to hold at least 2 images, whose spread is needed, but got 1.")
        (point,) = capture_points(classifier, self.target_layer, images)
        self._picked = [str(point)]
        mean, std, active = _spread(classifier.rows(torch.zeros(len(references), dtype=torch.int64)), references, point)
        forward = ForwardFromLayer(classifier, images, point)
        classifier.check_classes(forward.logits, target)
        bottleneck = Bottleneck(forward.activations, mean, std.clamp(min=self.min_std), active, self.blur)
        alpha = torch.full_like(forward.activations, self.initial_alpha, requires_grad=True)
        optimizer = torch.optim.Adam([alpha], lr=self.learning_rate)
        for step in range(self.num_steps):
            alpha.grad = self._gradient(classifier, forward, bottleneck, alpha, target, step)
            with torch.device(
                "cpu"
            ):  # older versions of torch keep Adam's step on the default device, whatever that is
                optimizer.step()
        return bottleneck.information(alpha.detach().double()).sum(1) / math.log(2.0)

    def _gradient(
        self,
        classifier: Classifier,
        forward: ForwardFromLayer,
        bottleneck: Bottleneck,
        alpha: Tensor,
        target: Tensor,
        step: int,
    ) -> Tensor:
        """Return the gradient of the images' losses, of which each knows its own α only; few copies at a time."""
        information = bottleneck.information(alpha).mean((1, 2, 3))
        (gradient,) = torch.autograd.grad(self.beta * information.sum(), alpha)
        surprise = partial(_surprise, classifier, target)
        copies = torch.arange(self.num_copies, device=alpha.device)
        for some in torch.split(copies, max(1, classifier.chunk_size // len(alpha))):
            samples = step * self.num_copies + some
            noise = normal(torch.zeros_like(some), tuple(alpha.shape[1:]), seed=self.seed, sample=samples)
            mixed = bottleneck.mixed(alpha, noise)
            by_maps = forward.gradient(mixed, surprise) / self.num_copies
            gradient = gradient + torch.autograd.grad(mixed, alpha, by_maps)[0]
        return gradient


def _surprise(classifier: Classifier, target: Tensor, logits: Tensor) -> Tensor:
    """Return −ln p of the target, exact also where p is small, (m · n,), for logits (m, n, K) and targets (n,)."""
    flat, own = logits.flatten(0, 1), target.repeat(len(logits))
    if classifier.task == "multiclass":
        return F.cross_entropy(flat, own, reduction="none")
    return F.softplus(-classifier.select(flat, own))


def _spread(classifier: Classifier, references: Tensor, point: CapturePoint) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and standard deviation of each unit over the references, and whether it is active, (C, h, w)."""
    total = squares = torch.zeros((), dtype=torch.float64, device=references.device)
    active = torch.zeros((), dtype=torch.int64, device=references.device)
    for chunk in classifier.chunks(len(references)):
        some = references[chunk]
        target = torch.zeros(len(some), dtype=torch.int64, device=some.device)
        activations = capture(classifier.rows(chunk), some, target, point, gradients=False).activations.double()
        total, squares, active = (
            total + activations.sum(0),
            squares + (activations**2).sum(0),
            active + (activations != 0).sum(0),
        )
    count = len(references)
    mean = total / count
    variance = (squares - count * mean**2).clamp(min=0.0) / (count - 1)
    return mean.float(), variance.sqrt().float(), active > _ACTIVE_SHARE * count
