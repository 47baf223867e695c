"""What the model does while the image is shaken: its prediction, its logits and the activations at a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.neighbours.neighbourhood import Neighbourhood
from lightning_xai.model.layer.capture import capture
from lightning_xai.model.layer.points import CapturePoint
from lightning_xai.model.layer.search import capture_points

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

Relative: TypeAlias = Literal["norm", "elementwise"]
LEAST = 1e-6
"""Least denominator of a relative change."""


@dataclass(frozen=True)
class OutputChanges:
    """Changes between an image and its J noisy copies, float32 (N, J).

    Attributes:
        same_prediction: Whether the copy has the image's prediction (class of the largest logit), boolean.
        image: Relative change of the image, ``‖x − x'‖ / ‖x‖`` or ``‖(x − x') / x‖``.
        logits: ``‖y(x) − y(x')‖₂`` over all logits.
        activations: Relative change of the target layer's activations; None if the model holds no feature maps.
        heatmap: ``‖(m(x) − m(x')) / m(x)‖_F`` for elementwise changes, NaN where the heatmap is zero or there is no
            noise; None for norms, whose heatmap distances are those of the `Neighbourhood`.
    """

    same_prediction: Tensor
    image: Tensor
    logits: Tensor
    activations: Tensor | None
    heatmap: Tensor | None


@dataclass(frozen=True)
class NeighbourOutputs(Evidence[OutputChanges]):
    """The model's own changes on the copies of a `Neighbourhood`, by which changes of heatmaps are measured.

    One evaluation of each copy, and one of the clean image, give logits and activations together. The layer is the
    (first) ``target_layer`` of the explainer if it has one, else ``"auto"``. Chunks run across images and copies; only
    the activations of one chunk exist at a time.

    Args:
        neighbourhood: Whose copies.
        relative: ``"norm"``, the norm of the change over that of the clean value; or ``"elementwise"``, the norm of the
            change divided element by element by the clean values (by 1e-6 where they are 0), which needs the heatmaps
            of the copies again.

    Raises:
        ValueError: If ``relative`` is unknown.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "heatmaps", "target", "explainer"})

    neighbourhood: Neighbourhood = Neighbourhood()  # noqa: RUF009 - frozen
    relative: Relative = "norm"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.relative, ("norm", "elementwise"), "relative")

    def evaluations(self, explaining: int = 1) -> int:
        """Return one per copy and one for the clean image; for elementwise changes also the copies' heatmaps."""
        again = explaining if self.relative == "elementwise" else 0
        return self.neighbourhood.num_samples * (1 + again) + 1

    def collect(self, case: Case) -> OutputChanges:
        """Return the changes."""
        num_versions = self.neighbourhood.num_samples + 1
        copies = _Copies(self, case)
        rows = torch.cat([copies.changes(chunk) for chunk in case.classifier.chunks(len(case) * num_versions)])
        rows = rows.view(len(case), num_versions, -1)[:, 1:]
        same_prediction, image, logits, activations, heatmap = rows.unbind(-1)
        return OutputChanges(
            same_prediction > 0,
            image,
            logits,
            None if copies.point is None else activations,
            None if self.relative == "norm" else heatmap,
        )


class _Copies:
    """Clean images and copies, numbered image by image with the clean one first; clean outputs wait for their copies.

    Attributes:
        point: Where activations are captured; None if there is no such place.
    """

    def __init__(self, evidence: NeighbourOutputs, case: Case) -> None:
        self._case = case
        self._neighbourhood, self._relative = evidence.neighbourhood, evidence.relative
        self._last: list[Tensor] = []
        self.point = _layer(case)

    def changes(self, chunk: slice) -> Tensor:
        """Return the columns of `OutputChanges` for a chunk, float32 (n, 5); rows of clean images say nothing."""
        flat_index = torch.arange(chunk.start, chunk.stop, device=self._case.images.device)
        num_versions = self._neighbourhood.num_samples + 1
        image, version = flat_index // num_versions, flat_index % num_versions
        images = self._case.images[image]
        noise = self._neighbourhood.noise_of(self._case, image, version - 1)
        noise = torch.where(version[:, None, None, None] > 0, noise, 0.0).to(images.dtype)
        outputs = self._outputs(images + noise, image)
        clean = self._clean(outputs, image, version)
        return torch.stack(
            [
                (outputs[0].argmax(1) == clean[0].argmax(1)).float(),
                self._change(noise, images),
                _norm(outputs[0] - clean[0]),
                self._change(outputs[-1] - clean[-1], clean[-1]),
                self._heatmap_change(images + noise, image, (noise != 0).flatten(1).any(1)),
            ],
            1,
        )

    def _outputs(self, images: Tensor, image: Tensor) -> list[Tensor]:
        """Return logits (n, K) and, where there is a layer, its activations (n, C, h, w)."""
        classifier = self._case.classifier.rows(image)
        if self.point is None:
            return [classifier.logits(images)]
        found = capture(classifier, images, self._case.target[image], self.point, gradients=False)
        return [found.logits, found.activations]

    def _clean(self, outputs: list[Tensor], image: Tensor, version: Tensor) -> list[Tensor]:
        """Return, for each row, the outputs of its clean image, which came in this chunk or was the last before it."""
        first = version == 0
        clean = [output[first] for output in outputs]
        if not bool(first[0]):
            clean = [torch.cat(pair) for pair in zip(self._last, clean, strict=True)]
        self._last = [rows[-1:] for rows in clean]
        return [rows[image - image[0]] for rows in clean]

    def _heatmap_change(self, images: Tensor, image: Tensor, copies: Tensor) -> Tensor:
        """Return the relative change of the heatmaps of noisy ``copies`` (n,), NaN elsewhere."""
        change = torch.full((len(images),), torch.nan, device=images.device)
        if self._relative == "elementwise" and bool(copies.any()):
            images, image = images[copies], image[copies]
            heatmaps, target = self._case.heatmaps[image], self._case.target[image]
            again = self._case.explainer(self._case.classifier.rows(image), images, target)
            found = self._change(heatmaps - again, heatmaps)
            change[copies] = torch.where((heatmaps != 0).flatten(1).any(1), found, torch.nan)
        return change

    def _change(self, change: Tensor, clean: Tensor) -> Tensor:
        if self._relative == "norm":
            return _norm(change) / _norm(clean).clamp(min=LEAST)
        return _norm(change.float() / torch.where(clean == 0, LEAST, clean.float()))


def _layer(case: Case) -> CapturePoint | None:
    layer = getattr(case.explainer, "target_layer", None)
    layer = "auto" if layer is None else layer
    try:
        return capture_points(case.classifier, layer, case.images)[0]
    except ValueError:
        if layer != "auto":
            raise
        return None  # a model without feature maps still has logits; only the metric that reads activations complains


def _norm(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, computed in float64, or the squares of small values would vanish."""
    norm: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1, dtype=torch.float64)
    return norm.float()
