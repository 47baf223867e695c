"""One batch under study, with a memo of the evidence about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from lightning_xai._checks import (
    check_count,
    check_images,
    check_maps,
    check_other_heatmaps,
    check_previous_heatmaps,
    check_target,
    check_value_range,
)
from lightning_xai._randomness import content_keys
from lightning_xai.evidence.evidence import Evidence, Memo
from lightning_xai.evidence.models.logits import Logits, LoweredLogits
from lightning_xai.model.classifier import Classifier, Model
from lightning_xai.model.preserve import preserved

if TYPE_CHECKING:
    from lightning_xai.explainers.explainer import Explainer

Value = TypeVar("Value")
Regions: TypeAlias = Mapping[str, Tensor | Sequence[Tensor]]

_LEAST_PART = 8  # images: where one goes through the model at a time, what is done beside it would cost most
_WHERE_FROM = {
    "explainer": " Pass `explainer=`, what made the heatmaps: it explains changed images, too.",
    "masks": " The batches of a monitor hold them beside the labels, as masks or boxes; without them leave it out.",
    "regions": " The batches of a monitor hold them by name, as `regions`.",
}


class Case:
    """Model, images, heatmaps and what else is known about one batch; ``case[evidence]`` collects once.

    A field that was not given names itself in the error when a metric reads it. Arguments are checked here, once.

    Args:
        model: A module or a `Classifier`, bound to what forward wants beside the images, if anything.
        images: Floating point (N, C, H, W), as the model sees them.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Floating point (N, H, W), raw; made by ``explainer`` when they are first read, if not given.
        masks: Boolean or {0, 1} (N, H, W), the annotated object; derived from ``boxes`` if not given.
        boxes: (N, 4), (N, M, 4) padded with NaN, or a sequence of (M_i, 4): x0, y0, x1, y1 in pixels, ends exclusive;
            derived from ``masks`` if not given.
        regions: Named areas that are asked about one by one, such as a lesion and a marker: name -> masks (N, H, W), or
            boxes as above; an image may lack one.
        explainer: Makes heatmaps of changed images.
        previous_heatmaps: Heatmaps (N, h, w) of the same images from an earlier epoch; NaN where there are none.
        other_heatmaps: Heatmaps (N, H, W) of the same images and target by other explainers, by name.
        value_range: Least and greatest value that images have, of which noise and radii are shares; each image's own
            if None.
        control_seed: Of the random heatmaps that gains and skills are measured from.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If shapes, devices or values do not fit; heatmaps must be finite.
    """

    def __init__(
        self,
        model: Model | None = None,
        images: Tensor | None = None,
        target: Tensor | int | None = None,
        *,
        heatmaps: Tensor | None = None,
        masks: Tensor | None = None,
        boxes: Tensor | Sequence[Tensor] | None = None,
        regions: Regions | None = None,
        explainer: Explainer | None = None,
        previous_heatmaps: Tensor | None = None,
        other_heatmaps: Mapping[str, Tensor] | None = None,
        value_range: tuple[float, float] | None = None,
        control_seed: int = 0,
    ) -> None:
        check_count(control_seed, "control_seed", least=-math.inf)
        self._images = None if images is None else check_images(images)
        self._heatmaps = None if heatmaps is None else check_maps(heatmaps, self._images, "heatmaps").detach().float()
        self._anchor = self._images if self._images is not None else self._heatmaps
        self._target = None if target is None else check_target(target, self._require(self._anchor, "images"))
        self._masks, self._boxes = self._annotated(masks, boxes)
        self._regions = None if regions is None else self._checked_regions(regions)
        self._explainer = explainer
        self._previous, self._others = previous_heatmaps, None
        if previous_heatmaps is not None:
            self._previous = check_previous_heatmaps(previous_heatmaps, self._anchor)
        if other_heatmaps is not None:
            self._others = check_other_heatmaps(other_heatmaps, self._anchor)
        self._value_range = None if value_range is None else check_value_range(value_range)
        self.control_seed = control_seed
        self._classifier = None if model is None else Classifier.of(model, self._images)
        if self._classifier is not None and self._images is not None:
            self._classifier.check_rows(len(self._images))
        self._keys: Tensor | None = None
        self._memo, self._image_memo = Memo(), Memo()
        self._seen_with: dict[Evidence[Tensor], Case] = {}

    def __len__(self) -> int:
        return len(self._require(self._anchor, "images"))

    def __getitem__(self, evidence: Evidence[Value]) -> Value:
        """Return what ``evidence`` says about this case; collected at the first reading, dropped after the last."""
        memo = self._image_memo if evidence.is_about_images_alone else self._memo
        result: Value = memo.read(evidence, self._collect)
        return result

    def announce(self, evidence: Evidence[Any]) -> None:
        """Say that ``evidence`` will be read once more, so that it is kept until then and freed afterwards."""
        if not evidence.is_about_images_alone and self._memo.announce(evidence):
            for part in evidence.reads:
                self.announce(part)

    def with_heatmaps(
        self,
        heatmaps: Tensor | None = None,
        explainer: Explainer | None = None,
        *,
        target: Tensor | None = None,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        previous_heatmaps: Tensor | None = None,
        other_heatmaps: Mapping[str, Tensor] | None = None,
    ) -> Case:
        """Return the same images with other heatmaps; what is known about the images alone is shared.

        Args:
            heatmaps: See the class; made by ``explainer`` when first read, if None.
            explainer: See the class.
            target: Another class per image; this case's if None.
            masks: Of that class; this case's if neither masks nor boxes are given.
            boxes: Of that class, likewise.
            previous_heatmaps: See the class.
            other_heatmaps: See the class.
        """
        other = Case(
            self._classifier,
            self._images,
            self._target if target is None else target,
            heatmaps=heatmaps,
            masks=masks,
            boxes=boxes,
            explainer=explainer,
            previous_heatmaps=previous_heatmaps,
            other_heatmaps=other_heatmaps,
            value_range=self._value_range,
            control_seed=self.control_seed,
        )
        if masks is None and boxes is None:
            other._masks, other._boxes = self._masks, self._boxes
        other._regions, other._keys = self._regions, self._keys
        other._image_memo = self._image_memo
        if target is None:
            other._seen_with = self._seen_with
        return other

    def parts(self) -> Iterator[tuple[slice, Case]]:
        """Yield some of the images at a time and the case of these, so that memory does not grow with their number.

        A part has as many images as go through the model together, at least 8. It knows the logits that this case
        knows, and nothing else that was collected; what is known about the images alone is collected again, part by
        part.
        """
        size = max(self.classifier.chunk_size, _LEAST_PART)
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, self._part(rows)

    def _part(self, rows: slice) -> Case:
        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[rows]

        def each_cut(maps: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
            return None if maps is None else {name: one[rows] for name, one in maps.items()}

        part = Case(
            None if self._classifier is None else self._classifier.rows(rows),
            cut(self._images),
            cut(self._target),
            heatmaps=cut(self._heatmaps),
            regions=each_cut(self._regions),
            explainer=self._explainer,
            previous_heatmaps=cut(self._previous),
            other_heatmaps=each_cut(self._others),
            value_range=self._value_range,
            control_seed=self.control_seed,
        )
        part._masks, part._boxes, part._keys = cut(self._masks), cut(self._boxes), cut(self._keys)
        for logits in (Logits(), LoweredLogits()):
            known = self._image_memo.known(logits)
            if known is not None:
                part._image_memo.keep(logits, known[rows])
        return part

    def seen_with(self, heatmaps: Evidence[Tensor]) -> Case:
        """Return the same images and target with the heatmaps (N, H, W) that some evidence is, such as `RandomControl`.

        It is one case for all heatmaps of these images and this target, and keeps what is known about it for them.
        """
        if heatmaps not in self._seen_with:
            # with a target it shares all but this mapping: in a circle, images would outlive their last reader
            other: Case = self.with_heatmaps(self[heatmaps], target=self.target)
            other._memo.frees = False
            self._seen_with[heatmaps] = other
        return self._seen_with[heatmaps]

    @property
    def classifier(self) -> Classifier:
        """The model under study."""
        return self._require(self._classifier, "model")

    @property
    def images(self) -> Tensor:
        """Images (N, C, H, W)."""
        return self._require(self._images, "images")

    @property
    def target(self) -> Tensor:
        """Class per image, int64 (N,)."""
        return self._require(self._target, "target")

    @property
    def heatmaps(self) -> Tensor:
        """Raw heatmaps, float32 (N, H, W)."""
        if self._heatmaps is None and self._explainer is not None:
            self._heatmaps = self._explainer(self.classifier, self.images, self.target)
        return self._require(self._heatmaps, "heatmaps")

    @property
    def has_target(self) -> bool:
        """Whether `target` was given."""
        return self._target is not None

    @property
    def explainer(self) -> Explainer:
        """What made the heatmaps."""
        return self._require(self._explainer, "explainer")

    @property
    def masks(self) -> Tensor:
        """Annotated object, boolean (N, H, W)."""
        if self._masks is None and self._boxes is not None:
            from lightning_xai.evidence.annotations import masks_of_boxes

            anchor = self._require(self._anchor, "images")
            self._masks = masks_of_boxes(self._boxes, (anchor.shape[-2], anchor.shape[-1]))
        return self._require(self._masks, "masks")

    @property
    def boxes(self) -> Tensor:
        """Annotated boxes, float32 (N, M, 4), NaN rows where an image has fewer than M."""
        if self._boxes is None and self._masks is not None:
            from lightning_xai.evidence.annotations import boxes_of_masks

            self._boxes = boxes_of_masks(self._masks)
        return self._require(self._boxes, "boxes")

    @property
    def regions(self) -> dict[str, Tensor]:
        """Named areas, boolean (N, H, W) by name; all False where an image lacks one."""
        return self._require(self._regions, "regions")

    @property
    def previous_heatmaps(self) -> Tensor:
        """Earlier heatmaps (N, h, w), NaN where there are none."""
        return self._require(self._previous, "previous_heatmaps")

    @property
    def other_heatmaps(self) -> dict[str, Tensor]:
        """Other explainers' heatmaps, float32 (N, H, W), by name."""
        return self._require(self._others, "other_heatmaps")

    @property
    def keys(self) -> Tensor:
        """Content key of each image, int64 (N,)."""
        if self._keys is None:
            self._keys = content_keys(self.images)
        return self._keys

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Least and greatest value that images have; None where each image has its own."""
        return self._value_range

    def noise_unit(self, *, absolute: bool = False) -> Tensor:
        """Return what noise and radii are shares of, float32 (N, 1, 1, 1): high − low of the range of the values.

        Args:
            absolute: Whether they are given in the units of the images instead, so that it is 1.
        """
        images = self.images
        if absolute or self._value_range is not None:
            low, high = (0.0, 1.0) if absolute or self._value_range is None else self._value_range
            return torch.full((len(images), 1, 1, 1), high - low, device=images.device)
        return (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)).float()

    @property
    def logits(self) -> Tensor:
        """Logits of the unchanged images, float32 (N, K); evaluated once."""
        return self[Logits()]

    @property
    def lowered_logits(self) -> Tensor:
        """The same in ``Readout(precision=...)``, beside which changed images are evaluated by a lowered classifier."""
        return self.logits if self.classifier.readout.precision == "model" else self[LoweredLogits()]

    def _annotated(
        self, masks: Tensor | None, boxes: Tensor | Sequence[Tensor] | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return masks and boxes, checked; without any, the code for them is not even imported."""
        if masks is None and boxes is None:
            return None, None
        from lightning_xai.evidence.annotations import check_boxes, check_masks

        checked_masks = None if masks is None else check_masks(masks, self._anchor)
        return checked_masks, None if boxes is None else check_boxes(boxes, self._require(self._anchor, "heatmaps"))

    def _checked_regions(self, regions: Regions) -> dict[str, Tensor]:
        from lightning_xai.evidence.annotations import check_regions

        return check_regions(regions, self._require(self._anchor, "heatmaps"))

    def _collect(self, evidence: Evidence[Any]) -> Any:
        try:
            if self._classifier is None:
                return evidence.collect(self)
            with preserved(self._classifier.model), torch.no_grad():
                return evidence.collect(self)
        except Exception as error:
            return error

    @staticmethod
    def _require(value: Value | None, name: str) -> Value:
        if value is None:
            where = _WHERE_FROM.get(name, "")
            raise ValueError(f"Expected `{name}` to be given, because a metric reads it, but got None.{where}")
        return value
