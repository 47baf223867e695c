"""What every metric is: a score per image, a mean over the images for which it is defined, and how sure that is."""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from typing_extensions import Unpack

from lightning_xai._registry import alias_of, family_of
from lightning_xai._settings import Configured
from lightning_xai.evidence.case import Case, Regions
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.estimate import Estimate, jackknife_error, undefined_rows
from lightning_xai.metrics.plotting import plot_metric
from lightning_xai.model.classifier import Model

_GIVEN_BESIDE = {"masks": "masks", "boxes": "masks"} | {
    name: name for name in ("regions", "explainer", "previous_heatmaps", "other_heatmaps")
}


class MetricOptions(TypedDict, total=False):
    """Arguments of `torchmetrics.Metric`."""

    compute_on_cpu: bool
    dist_sync_on_step: bool
    process_group: Any
    dist_sync_fn: Callable[..., Any] | None
    distributed_available_fn: Callable[..., bool] | None
    sync_on_compute: bool
    compute_with_cache: bool


class ExplanationMetric(Configured, Metric):
    """One number about explanations.

    A subclass keeps its settings and the evidence that it reads as attributes, and overrides `score`, a cheap function
    of a `Case` that returns one value per image, NaN where the metric is undefined. The mean over defined images, its
    standard error, means per class, counts of undefined images, synchronisation and plotting come from here. No model
    is ever held.

    Args:
        **options: Of `torchmetrics.Metric`, such as ``sync_on_compute``.

    Attributes:
        alias: Name in `get_metric`; the file's name.
        key: Name under which the monitor logs it; the alias unless overridden.
        range: Least and greatest value, infinite where unbounded.
        inputs: Fields of a case that `score` reads itself; what its evidence reads comes on top.
        optional_inputs: Further fields that `score` or its evidence reads for some settings only.
        columns: Names of the numbers per image where `score` returns rows (N, D) that are of interest one by one.
        logs_gain: Whether the monitor logs the difference to the random control beside it.
        can_be_undefined: Whether an image can lack a value although its heatmap is fine in shape and finite, and no
            number is too large for float32.
        in_default_suite: Whether the monitor scores it by default (where data have what it needs).
        numbers_version: Raised when the values for the same settings change, so that stored ones are computed anew.

    Example:
        >>> class Peak(ExplanationMetric):
        ...     def score(self, case: Case) -> Tensor:
        ...         return case.heatmaps.amax((1, 2))
        >>> metric = Peak()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 2.0]], [[0.0, 4.0]]]))
        >>> metric.compute(), metric.standard_error()
        (tensor(3.), tensor(1.))
    """

    is_differentiable: ClassVar[bool] = False  # type: ignore[misc]
    full_state_update: ClassVar[bool] = False  # type: ignore[misc]
    image_rows: list[Tensor]
    image_targets: list[Tensor]
    settings_checksum: Tensor
    alias: ClassVar[str]
    key: ClassVar[str]
    family: ClassVar[str]
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    inputs: ClassVar[frozenset[str]] = frozenset({"heatmaps"})
    optional_inputs: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[tuple[str, ...]] = ()
    logs_gain: ClassVar[bool] = False
    can_be_undefined: ClassVar[bool] = False
    in_default_suite: ClassVar[bool] = False
    numbers_version: ClassVar[int] = 1
    _evidence_of_class: ClassVar[tuple[Evidence[Any], ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.alias = alias_of(cls)
        cls.key = cls.__dict__.get("key", cls.alias)
        low, high = cls.range
        cls.plot_lower_bound = low if math.isfinite(low) else None
        cls.plot_upper_bound = high if math.isfinite(high) else None
        cls.family = family_of(cls)
        given = cls.__dict__.get("evidence", ())
        if not isinstance(given, (tuple, property)):
            raise _one_evidence(cls.__name__, given)
        held = (value for kind in cls.__mro__ for name, value in vars(kind).items() if name != "evidence")
        cls._evidence_of_class = tuple(value for value in held if isinstance(value, Evidence))

    def __init__(self, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.add_state("image_rows", default=[], dist_reduce_fx="cat")
        self.add_state("image_targets", default=[], dist_reduce_fx="cat")
        # Differs between settings: torchmetrics merges metrics of a collection whose states are equal after one batch.
        self.add_state("settings_checksum", default=torch.tensor(0), dist_reduce_fx="max")

    @property
    def evidence(self) -> tuple[Evidence[Any], ...]:
        """What `score` reads that costs model evaluations; equal evidence of several metrics is shared."""
        held = (value if isinstance(value, (tuple, list)) else (value,) for value in vars(self).values())
        of_self = (one for values in held for one in values if isinstance(one, Evidence))
        return tuple(dict.fromkeys((*self._evidence_of_class, *of_self)))

    @evidence.setter
    def evidence(self, given: object) -> None:
        """Refuse what hides the list."""
        raise _one_evidence(type(self).__name__, given)

    @property
    def all_inputs(self) -> frozenset[str]:
        """Fields of a case that the metric reads, its evidence included."""
        if isinstance(self.evidence, Evidence):
            raise _one_evidence(type(self).__name__, self.evidence)
        return self.inputs.union(*(evidence.inputs for evidence in self.evidence))

    @property
    def needs(self) -> frozenset[str]:
        """What must be known beside model, images, target and heatmaps.

        Any of ``"masks"`` (or boxes), ``"regions"``, ``"explainer"``, ``"previous_heatmaps"``, ``"other_heatmaps"``.
        """
        return frozenset(_GIVEN_BESIDE[name] for name in self.all_inputs if name in _GIVEN_BESIDE)

    @property
    def named_regions(self) -> tuple[str, ...]:
        """Names of the case's ``regions`` that it asks about; none unless overridden."""
        return ()

    @abstractmethod
    def score(self, case: Case) -> Tensor:
        """Return one value per image, float (N,), NaN where undefined (or rows (N, D) for `aggregate`)."""

    def scored(self, case: Case) -> Tensor:
        """Return `score` as float32, NaN also where a value is too large for it: undefined, and counted as such."""
        rows = self.score(case).float()
        return torch.where(rows.isinf(), torch.nan, rows)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the metric's value from all rows; the mean over defined images."""
        return rows.double().nanmean(0).to(rows.dtype)  # a sum may be too large for float32 where no value is

    def left_out(self, rows: Tensor) -> Tensor:
        """Return the value without each image in turn, (N,), from rows of defined images; all that an error needs."""
        if rows.ndim == 1 and type(self).aggregate is ExplanationMetric.aggregate:
            rows = rows.double()
            return (rows.sum() - rows) / (len(rows) - 1)
        index = torch.arange(len(rows), device=rows.device)
        return torch.stack([self.aggregate(rows[index != i]) for i in range(len(rows))])

    def error(self, rows: Tensor) -> Tensor:
        """Return the standard error of `aggregate` over images; NaN for fewer than two defined images."""
        defined = rows[~undefined_rows(rows)]
        return jackknife_error(self.left_out(defined) if len(defined) > 1 else defined)

    def per_image(self, rows: Tensor) -> Tensor:
        """Return one value per image (N,) from rows (N,) or (N, D); the first of D unless overridden."""
        return rows if rows.ndim == 1 else rows[:, 0]

    def estimate(self, rows: Tensor) -> Estimate:
        """Return value, standard error and undefined images of some rows, as `score` returns them."""
        if not len(rows):
            return Estimate(math.nan)
        return Estimate(float(self.aggregate(rows)), float(self.error(rows)), self.num_undefined(rows))

    def num_undefined(self, rows: Tensor) -> int:
        """Return how many images of some rows the value leaves out."""
        return int(undefined_rows(rows).sum())

    def difference(self, rows: Tensor, others: Tensor) -> Estimate:
        """Return how much some rows exceed those of the same images in another case, paired image by image.

        Images that are undefined in either are left out and counted.
        """
        undefined = undefined_rows(rows) | undefined_rows(others)
        first, second, count = rows[~undefined].double(), others[~undefined].double(), int(undefined.sum())
        if not len(first):
            return Estimate(math.nan, undefined=count)
        value = float(self.aggregate(first)) - float(self.aggregate(second))
        if len(first) < 2:
            return Estimate(value, undefined=count)
        return Estimate(value, float(jackknife_error(self.left_out(first) - self.left_out(second))), count)

    def update(
        self,
        *,
        case: Case | None = None,
        model: Model | None = None,
        images: Tensor | None = None,
        heatmaps: Tensor | None = None,
        target: Tensor | int | None = None,
        masks: Tensor | None = None,
        boxes: Tensor | Sequence[Tensor] | None = None,
        regions: Regions | None = None,
        explainer: Explainer | None = None,
        previous_heatmaps: Tensor | None = None,
        other_heatmaps: Mapping[str, Tensor] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        """Add a batch, given as a `Case` or by the arguments of one; a metric asks only for what it reads.

        Args:
            case: Everything below in one object, with shared evidence.
            model: A module or a `Classifier`.
            images: Floating point (N, C, H, W), as the model sees them.
            heatmaps: Floating point (N, H, W), raw; made by ``explainer`` if not given.
            target: Class per image, int64 (N,), or one class for all.
            masks: Boolean (N, H, W), the annotated object.
            boxes: x0, y0, x1, y1 in pixels, (N, 4), (N, M, 4) or a sequence of (M_i, 4).
            regions: Named areas that are asked about one by one: name -> masks (N, H, W) or boxes as above.
            explainer: Makes heatmaps of changed images.
            previous_heatmaps: Heatmaps (N, h, w) of the same images from an earlier epoch.
            other_heatmaps: Heatmaps (N, H, W) of the same images by other explainers, by name.
            value_range: Least and greatest value that images have, of which noise is a share; each image's own if None.
        """
        if case is None:
            case = Case(
                model,
                images,
                target,
                heatmaps=heatmaps,
                masks=masks,
                boxes=boxes,
                regions=regions,
                explainer=explainer,
                previous_heatmaps=previous_heatmaps,
                other_heatmaps=other_heatmaps,
                value_range=value_range,
            )
        self._append(self.scored(case), case.target if case.has_target else None)

    def _append(self, rows: Tensor, target: Tensor | None) -> None:
        if target is None:
            target = torch.full((len(rows),), -1, device=rows.device)
        with torch.inference_mode(False):
            self.image_rows.append(rows.detach().float().flatten().clone())
            self.image_targets.append(target.clone())
            self.settings_checksum = torch.full_like(self.settings_checksum, zlib.crc32(repr(self).encode()))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the states of all processes; see `torchmetrics.Metric.sync`."""
        # flat states, and empty ones of their dtype: torchmetrics' own stand-in for a process without images is a
        # flat float tensor, and gathering it with anything else kills the run
        for name, dtype in (("image_rows", torch.float32), ("image_targets", torch.int64)):
            if isinstance(parts := getattr(self, name), list) and not parts:
                parts.append(torch.zeros(0, dtype=dtype, device=self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        """Return the metric's value, a float32 scalar; NaN if it is defined for no image."""
        rows = self.rows
        return self.aggregate(rows).float() if len(rows) else rows.new_tensor(torch.nan)

    @property
    def rows(self) -> Tensor:
        """All rows so far on this process (inside `compute`, of all), float32 (N,) or (N, D)."""
        flat, count = self._state("image_rows", torch.float32), len(self._state("image_targets", torch.int64))
        return flat.view(count, -1).squeeze(1) if count else flat

    @property
    def undefined(self) -> int:
        """Number of images so far for which the metric is undefined."""
        return self.num_undefined(self.rows)

    def standard_error(self) -> Tensor:
        """Return the standard error of `compute` over images, float32; NaN for fewer than two defined images."""
        return self.error(self.rows).float()

    def per_class(self) -> dict[int, Tensor]:
        """Return the value for each class that was given as target."""
        rows, classes = self.rows, self._state("image_targets", torch.int64)
        return {c: self.aggregate(rows[classes == c]).float() for c in sorted(set(classes.tolist())) if c >= 0}

    def evaluations(self, explaining: int = 1) -> int:
        """Return the model evaluations per image, before sharing, if one heatmap costs ``explaining``."""
        return sum(evidence.evaluations(explaining) for evidence in self.evidence)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Return figure and axes with the value and its standard error, or with what ``val`` holds.

        The figure is unknown to pyplot: save it, or let a notebook show it; nothing has to be closed.

        Args:
            val: A value, a mapping of names to values such as `per_class`, or a sequence of either over epochs;
                computed if None. NaN is left out.
            ax: Where to draw; axes of a new figure if None.
        """
        return plot_metric(self, val, ax)

    def _state(self, name: str, dtype: torch.dtype) -> Tensor:
        parts = getattr(self, name)
        empty = isinstance(parts, list) and not parts
        return torch.zeros(0, dtype=dtype, device=self.device) if empty else dim_zero_cat(parts)


def _one_evidence(metric: str, given: object) -> TypeError:
    """Return the error about evidence that stands where the list of all evidence is read."""
    return TypeError(
        f"Expected {metric} to keep what it reads under a name of its own, such as `self.logits = Logits()`, which "
        f"`score` reads as `case[self.logits]`, because `evidence` is the tuple of all of it, but got `evidence` = "
        f"{given!r}."
    )
