"""What the model says about each image while its intensity grows from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import capture
from lightning_xai.model.layer.search import capture_points

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class Scaled:
    """Each image times α, for S values of α evenly in (0, 1].

    Attributes:
        cosine: cos(A(αx), A(x)) of the target layer's flattened activations, float32 (N, S) in [-1, 1]; 0 where only
            A(αx) is zero, NaN where A(x) is.
        logits: float32 (N, S, K).
    """

    cosine: Tensor
    logits: Tensor


@dataclass(frozen=True)
class ScaledImages(Evidence[Scaled]):
    """`Scaled` of images alone: it knows no target, so that cases of the same images share it.

    Costs ``num_steps`` evaluations per image, the unchanged image (α = 1) among them.

    Args:
        num_steps: Values of α: k / num_steps.
        target_layer: ``"auto"`` or a dotted name; see `LayerExplainer`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``num_steps`` is below 2.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images"})

    num_steps: int = 25
    target_layer: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.num_steps, "num_steps", least=2)
        if not isinstance(self.target_layer, str):
            raise TypeError(f"Expected `target_layer` to be 'auto' or a name, but got {self.target_layer!r}.")

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return ``num_steps``."""
        return self.num_steps

    @property
    def alphas(self) -> list[float]:
        """The values of α, ascending; the last is 1."""
        return [(k + 1) / self.num_steps for k in range(self.num_steps)]

    def collect(self, case: Case) -> Scaled:
        """Return cosines and logits, in chunks of images; two sets of activations exist at a time."""
        classifier = case.classifier
        parts = [self._chunk(classifier.rows(chunk), case.images[chunk]) for chunk in classifier.chunks(len(case))]
        return Scaled(torch.cat([cosine for cosine, _ in parts]), torch.cat([logits for _, logits in parts]))

    def _chunk(self, classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        (point,) = capture_points(classifier, self.target_layer, images)
        target = torch.zeros(len(images), dtype=torch.int64, device=images.device)  # asks for no class
        cosines: list[Tensor] = []
        logits: list[Tensor] = []
        intact: Tensor | None = None
        for alpha in reversed(self.alphas):
            found = capture(classifier, alpha * images, target, point, gradients=False)
            unit = _unit(found.activations)
            intact = unit if intact is None else intact
            cosines.append(torch.where(intact.any(1), (unit * intact).sum(1).clamp(-1.0, 1.0), torch.nan))
            logits.append(found.logits)
        return torch.stack(cosines[::-1], 1), torch.stack(logits[::-1], 1)


def _unit(activations: Tensor) -> Tensor:
    """Return each image's activations as a vector of length 1, or 0; over their peak first, or small ones vanish."""
    flat = activations.flatten(1)
    peak = flat.abs().amax(1, keepdim=True)
    flat = flat / torch.where(peak > 0, peak, 1.0)
    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return flat / torch.where(length > 0, length, 1.0)
