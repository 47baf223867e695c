"""What every explainer is: settings in the constructor, model and data in the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from lightning_xai._checks import check_finite, check_images, check_target, shape
from lightning_xai._registry import alias_of, family_of
from lightning_xai._settings import Configured
from lightning_xai.model.classifier import Classifier, Model
from lightning_xai.model.preserve import preserved
from lightning_xai.model.progress import evaluations_shown


class Explainer(Configured, ABC):
    """Map (model, images, target) to one heatmap per image.

    A subclass overrides `explain`, which sees at most one chunk of images; chunking, resizing, checks and leaving no
    trace are done here. Settings are the constructor's arguments, kept as attributes under the same names.

    Attributes:
        alias: Name in `get_explainer` and in keys; the file's name, or the snake_case of a class defined elsewhere.
        family: The folder of the file, such as ``"cam"``; ``"custom"`` for a class defined elsewhere.
        class_discriminative: Whether the map depends on the target class.
        refuses: Networks that it cannot explain, in words; empty for none.
        shares_passes: Whether the images of a chunk share passes of other images, such as references: then images that
            come with `extra` are explained one by one, because such an image takes the extra of the explained one.
        numbers_version: Raised when the heatmaps of the same settings change, so that stored ones are made anew.
    """

    numbers_version: ClassVar[int] = 1
    alias: str
    family: str
    class_discriminative: bool = True
    refuses: str = ""
    shares_passes: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.alias = alias_of(cls)
        cls.family = family_of(cls)

    @property
    def evaluations(self) -> int | None:
        """Cost per image in model evaluations; None where it depends on the network, the images or their number."""
        return 1

    @property
    def completeness(self) -> bool:
        """Whether the raw map promises to sum to the change of the logit, from a baseline image to this one."""
        return False

    @property
    def picked(self) -> list[str]:
        """What the last call captured, in words, such as ``["the output of `layer4`"]``; empty without a layer."""
        return []

    @property
    def needs_references(self) -> bool:
        """Whether it compares with images of the data and has none yet; see `with_references`."""
        return False

    def with_references(self, references: Tensor) -> Self:  # noqa: ARG002 - only some explainers compare with images
        """Return the same explainer with ``references`` (R, C, H, W), if it compares with images of the data."""
        return self

    def __call__(self, model: Model, images: Tensor, target: Tensor | int) -> Tensor:
        """Return raw heatmaps, resized to the images (bilinear), not normalised.

        What takes longer than two seconds, and more than one forward, shows a progress bar on a terminal, unless the
        `Classifier` has its own.

        Args:
            model: A module, or a `Classifier`, which can be bound to what forward wants beside the images; it is left
                exactly as it was.
            images: Floating point (N, C, H, W), as the model sees them.
            target: Class per image, int64 (N,), or one class for all.

        Returns:
            float32 (N, H, W) on the images' device, finite, detached. Each row depends on its own image only.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If a shape, device or class does not fit, or a heatmap is not finite.
        """
        images = check_images(images)
        target = check_target(target, images)
        classifier = Classifier.of(model, images)
        classifier.check_rows(len(images))
        alone = classifier.has_extra and self.shares_passes
        total = None if self.evaluations is None else self.evaluations * len(images)
        at_once = not alone and total is not None and total <= classifier.chunk_size  # a bar would be full or not there
        told = classifier.on_evaluated is not None or at_once
        with (
            preserved(classifier.model),
            nullcontext() if told else evaluations_shown(classifier, type(self).__name__, total),
            classifier.autocast_for_the_model_only(images.device),
        ):
            images = images.detach().clone() if images.is_inference() else images.detach()
            target = target.clone() if target.is_inference() else target
            chunks = [slice(i, i + 1) for i in range(len(images))] if alone else classifier.chunks(len(images))
            heatmaps = images.new_empty(len(images), *images.shape[2:], dtype=torch.float32)
            for chunk in chunks:
                heatmaps[chunk] = self._resized(classifier.rows(chunk), images[chunk], target[chunk])
        check_finite(heatmaps, f"heatmaps of {type(self).__name__}")
        return heatmaps

    @abstractmethod
    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return raw maps (n, h, w) of any size for one chunk of images (n, C, H, W)."""

    def _resized(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        maps = self.explain(classifier, images, target).detach().float()
        if maps.ndim != 3 or len(maps) != len(images):
            raise ValueError(
                f"Expected `{type(self).__name__}.explain` to return maps of shape ({len(images)}, h, w), "
                f"but got {shape(maps)}."
            )
        if maps.shape[1:] == images.shape[2:]:
            return maps
        return F.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
