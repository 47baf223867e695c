"""What every metric is tested with: a tiny model, a batch, and one entry per metric.

A metric joins the contract (`test_contract.py`) by an ``ENTRY`` in its own test file, ``<family>/test_<alias>.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_xai import functional
from lightning_xai.evidence.annotations import masks_of_boxes
from lightning_xai.evidence.case import Case
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics import get_metric, list_metrics
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.registry import METRICS

SIZE = (9, 11)  # not square, and no multiple of the default grids and steps
CLASSES = 3
TOLERANCE = 1e-5


def tiny_net(seed: int = 0) -> nn.Module:
    """Return a small net in train mode whose answer depends on position, mode and batch (if not handled)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(4 * SIZE[0] * SIZE[1], CLASSES),
        )
        nn.init.normal_(net[5].weight, std=0.3)
        net[1].running_mean.uniform_(-0.1, 0.1)
        net[1].running_var.uniform_(0.3, 0.5)
    return net.train()


class Squares(Explainer):
    """Explain by Σ_c (c + 1 + class) · relu(x_c)²: cheap, depends on image and class, and easy to write naively.

    It says that it promises completeness, so that the metric of that name may ask it.
    """

    evaluations = 0
    completeness = True

    def explain(self, classifier: Any, images: Tensor, target: Tensor) -> Tensor:
        channel = torch.arange(images.shape[1], device=images.device)
        weights = (channel[None, :] + 1 + target[:, None])[:, :, None, None]
        return (weights * images.relu().square()).sum(1)


def squares(image: np.ndarray, target: int) -> np.ndarray:
    return sum((c + 1 + target) * np.maximum(image[c], 0.0) ** 2 for c in range(len(image)))


@dataclass(frozen=True)
class Batch:
    images: Tensor
    heatmaps: Tensor
    target: Tensor
    masks: Tensor
    boxes: Tensor
    previous_heatmaps: Tensor

    @classmethod
    def draw(cls, count: int, seed: int = 0) -> Batch:
        """Return a batch on which no metric is trivial.

        Heatmaps have tied zeros and, in every second image, heat on the first box; every fifth image has neither mask
        nor box; every second has one box, the others two.
        """
        random = torch.Generator().manual_seed(seed)
        height, width = SIZE
        corner = torch.rand(count, 2, 2, generator=random) * torch.tensor([width / 2, height / 2])
        extent = 2.0 + torch.rand(count, 2, 2, generator=random) * torch.tensor([width / 3, height / 3])
        boxes = torch.cat([corner, corner + extent], 2)
        heatmaps = nn.functional.interpolate(torch.randn(count, 1, 4, 4, generator=random), SIZE, mode="bilinear")[:, 0]
        masks = torch.rand(count, height, width, generator=random) < 0.1
        masks[::3] |= masks_of_boxes(boxes[::3, :1], SIZE)
        masks[4::5] = False
        heatmaps[::2] += 9.0 * masks_of_boxes(boxes[::2, :1], SIZE)
        boxes[1::2, 1] = torch.nan
        boxes[4::5] = torch.nan
        return cls(
            images=torch.randn(count, 3, height, width, generator=random),
            heatmaps=heatmaps.relu(),
            target=torch.randint(CLASSES, (count,), generator=random),
            masks=masks,
            boxes=boxes,
            previous_heatmaps=torch.randn(count, 4, 3, generator=random),
        )

    @property
    def other_heatmaps(self) -> dict[str, Tensor]:
        """Heatmaps of other explainers; the last one says nothing."""
        first, second, _ = self.images.unbind(1)
        return {"first": first, "second": second.relu(), "blank": torch.zeros_like(first)}

    @property
    def regions(self) -> dict[str, Tensor]:
        """Named areas: the mask, whose mirror image touches it in some images, and the first box, as a box."""
        return {"object": self.masks, "box": self.boxes[:, 0]}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | list[int]) -> Batch:
        return Batch(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def with_heatmaps(self, heatmaps: Tensor) -> Batch:
        return replace(self, heatmaps=heatmaps)

    def to(self, device: str) -> Batch:
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class View:
    """One image as a naive reference sees it: float64 arrays and a model in float64."""

    batch: Batch
    net: nn.Module

    def _array(self, name: str) -> np.ndarray:
        return getattr(self.batch, name)[0].double().numpy()

    @property
    def image(self) -> np.ndarray:
        return self._array("images")

    @property
    def heat(self) -> np.ndarray:
        return self._array("heatmaps")

    @property
    def target(self) -> int:
        return int(self.batch.target[0])

    @property
    def mask(self) -> np.ndarray:
        return self.batch.masks[0].numpy()

    @property
    def boxes(self) -> list[tuple[float, ...]]:
        return [tuple(box) for box in self.batch.boxes[0].double().tolist() if not np.isnan(box).any()]

    @property
    def regions(self) -> dict[str, np.ndarray]:
        rows, columns = np.indices(self.mask.shape) + 0.5
        x0, y0, x1, y1 = self.batch.boxes[0, 0].double().tolist()
        return {"object": self.mask, "box": (x0 <= columns) & (columns < x1) & (y0 <= rows) & (rows < y1)}

    @property
    def previous(self) -> np.ndarray:
        return self._array("previous_heatmaps")

    @cached_property
    def double(self) -> nn.Module:
        return deepcopy(self.net).double().eval()

    def logits(self, image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.double(torch.from_numpy(image)[None])[0].numpy()

    def f(self, image: np.ndarray) -> float:
        """Return the probability of the target class."""
        logits = self.logits(image)
        exponentials = np.exp(logits - logits.max())
        return float(exponentials[self.target] / exponentials.sum())


def mean_of_defined(rows: Tensor) -> Tensor:
    """Return the mean over defined images, of the first number if a row has several."""
    values = rows if rows.ndim == 1 else rows[:, 0]
    return values[~values.isnan()].mean()


@dataclass(frozen=True)
class Entry:
    """How a metric joins the contract.

    Attributes:
        alias: Of `list_metrics`.
        arguments: What its ``update`` is given, by name.
        reference: The definition, naively, in float64: (view of one image, **settings) -> value, or a tuple if the
            metric keeps rows. Its keyword defaults are those of METRICS.md.
        variants: Other settings that are tested as well.
        value: The metric's value from its rows, naively.
        reads_all_with: Settings with which every argument is read.
        undefined_by_model: Whether it is undefined for what the model says, not for the heatmap.
        shared: How many of the declared evaluations are one: the unchanged image of several curves.
        base: Settings of every instance, where the defaults do not fit images of `SIZE`.
        explainer: What makes the heatmaps of changed images.
        left_out: The value without each image, naively, from the defined rows; ``value`` of the other rows if None.
        per_image: What the function returns for the rows, where a row is more than the image's value.
        repeatable: False for what is measured, such as seconds: no reference gives it, and no second call.
    """

    alias: str
    arguments: tuple[str, ...]
    reference: Callable[..., Any]
    variants: tuple[dict[str, Any], ...] = ()
    value: Callable[[Tensor], Tensor] = mean_of_defined
    reads_all_with: dict[str, Any] = field(default_factory=dict)
    undefined_by_model: bool = False
    shared: float = 0
    base: dict[str, Any] = field(default_factory=dict)
    explainer: Explainer = field(default_factory=Squares)
    left_out: Callable[[Tensor], Tensor] | None = None
    per_image: Callable[[Tensor], Tensor] = lambda rows: rows
    repeatable: bool = True

    def __str__(self) -> str:
        return self.alias

    @property
    def cls(self) -> type[ExplanationMetric]:
        return METRICS.load(self.alias)

    @property
    def all_settings(self) -> tuple[dict[str, Any], ...]:
        return (self.base, *(self.base | variant for variant in self.variants))

    def without_each(self, rows: Tensor) -> Tensor:
        """Return the value of defined ``rows`` without each in turn, (N,)."""
        if self.left_out is not None:
            return self.left_out(rows)
        return torch.stack([self.value(rows[torch.arange(len(rows)) != i]) for i in range(len(rows))])

    def metric(self, settings: dict[str, Any] | None = None, **kwargs: Any) -> ExplanationMetric:
        return get_metric(self.alias, **(self.base | (settings or {})), **kwargs)

    def given(self, batch: Batch, model: Any) -> dict[str, Any]:
        """Return the arguments of ``update``."""
        others = {"model": model, "explainer": self.explainer}
        return {name: others[name] if name in others else getattr(batch, name) for name in self.arguments}

    def case_of(self, names: Iterable[str], batch: Batch, model: Any) -> NotedCase:
        """Return a case that has these fields and no others."""
        derived = {"other_heatmaps": batch.other_heatmaps, "regions": batch.regions}
        fields = {"model": model, "explainer": self.explainer, **derived, **vars(batch)}
        return NotedCase(**{name: fields[name] for name in names})

    def updated(self, batch: Batch, model: Any, settings: dict[str, Any] | None = None) -> ExplanationMetric:
        metric = self.metric(settings)
        metric.update(**self.given(batch, model))
        return metric

    def called(self, batch: Batch, model: Any, settings: dict[str, Any] | None = None) -> Tensor:
        """Return what the metric's function returns, several numbers per image side by side."""
        function = getattr(functional, self.alias)
        known = signature(function).parameters
        given = {name: value for name, value in self.given(batch, model).items() if name in known}
        found = function(**given, **(self.base | (settings or {})))
        return torch.stack(found, 1) if isinstance(found, tuple) else found

    def expected(self, batch: Batch, net: nn.Module, settings: dict[str, Any] | None = None) -> Tensor:
        """Return the naive rows, float64 (N,) or (N, D)."""
        views = [View(batch[[i]], net) for i in range(len(batch))]
        settings = self.base | (settings or {})
        return torch.tensor([self.reference(view, **settings) for view in views], dtype=torch.float64)


_FIELD_OF = {"classifier": "model"} | {
    name: name
    for name in (
        "images",
        "heatmaps",
        "target",
        "masks",
        "boxes",
        "regions",
        "explainer",
        "previous_heatmaps",
        "other_heatmaps",
    )
}


class NotedCase(Case):
    """A case that notes which of its fields are read; to ask whether there is a target is no reading of it."""

    has_target = False

    def __init__(self, **given: Any) -> None:
        self.read: set[str] = set()
        super().__init__(**given)

    def __getattribute__(self, name: str) -> Any:
        if name in _FIELD_OF:
            self.read.add(_FIELD_OF[name])
        return super().__getattribute__(name)


def undefined(rows: Tensor) -> Tensor:
    """Return which rows (N,) or (N, D) lack a value, boolean (N,)."""
    return rows.isnan() if rows.ndim == 1 else rows.isnan().any(1)


def _module(alias: str) -> str:
    return f"tests.metrics.{METRICS.load(alias).family}.test_{alias}"


def entry_of(alias: str) -> Entry:
    found: Entry = import_module(_module(alias)).ENTRY
    if found.alias != alias:
        raise AssertionError(f"Expected the ENTRY of test_{alias}.py to be about {alias!r}, but got {found.alias!r}.")
    return found


def without_entry() -> list[str]:
    """Return the metrics that have no test file yet; a test of the contract fails for them."""
    return [alias for alias in list_metrics() if find_spec(_module(alias)) is None]


def entries() -> list[Entry]:
    missing = without_entry()
    return [entry_of(alias) for alias in list_metrics() if alias not in missing]


def close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(
        found.double(), torch.as_tensor(expected).double(), rtol=tolerance, atol=tolerance, equal_nan=True
    )


class EvaluationCount:
    """Count the images that pass through a model, and the most at once."""

    def __init__(self, model: nn.Module) -> None:
        self.images, self.largest = 0, 0
        model.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images += len(inputs[0])
        self.largest = max(self.largest, len(inputs[0]))
