"""What the shortcut alarm asks about every heatmap: how much of its heat lies on the object, the border, a nuisance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_xai._checks import check_count, check_name
from lightning_xai.evidence.case import Case
from lightning_xai.explainers.controls.center_heatmap import CenterHeatmap
from lightning_xai.metrics.localization.nuisance_mass import border_of
from lightning_xai.metrics.localization.relevance_mass_accuracy import share_of_heat_inside

OBJECT, BORDER = "object", "border"
AREA, CENTER = "area", "center"


@dataclass(frozen=True)
class ShortcutAlarm:
    """Warn when a model seems right for the wrong reason.

    ``docs/shortcut_alarm.md`` has the rule, and how often it was raised in runs with and without a shortcut. It asks
    three things of every explanation, and one that holds ``patience`` times in a row raises the alarm:

    - *apart*: has a score of the explanation (localization, gain or skill) fallen, by more than two paired standard
      errors, while accuracy rose?
    - *object*: is the model right and its heat faithful, but no more on the annotated object than chance, neither the
      object's share of the image nor what a heatmap of the centre has there, and surely less than twice that share?
    - *border*, and each nuisance: is the model right and its heat faithful, and more on what must not matter than its
      share of the image?

    It evaluates nothing, reads rows and heatmaps that are there, and never ends a run.

    Args:
        patience: Explanations in a row.
        nuisance: Names of regions of the data (`Sample.regions`) that must not matter, such as ``["marker"]``, or one.
        border: Whether the border is one, the pixels whose centres lie within 1/16 of a side, but for the object's.

    Raises:
        TypeError: If ``nuisance`` holds something else than names.
        ValueError: If ``patience`` is below 1, or a name cannot be that of a region.

    Example:
        >>> ShortcutAlarm(nuisance="marker").nuisance
        ('marker',)
    """

    patience: int = 3
    nuisance: str | Sequence[str] = ()
    border: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.patience, "patience")
        listed = [self.nuisance] if isinstance(self.nuisance, str) else self.nuisance
        object.__setattr__(self, "nuisance", tuple(check_name(name, "nuisance") for name in listed))

    def shares(
        self, case: Case, heatmaps: Mapping[str, Tensor], regions: Mapping[str, Tensor] | None, *, annotated: bool
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
        """Return which shares of the heat lie on each area, and which are chance.

        Args:
            case: The images, with the masks of the explained class if ``annotated``.
            heatmaps: Explainer -> raw heatmaps (N, H, W).
            regions: Name -> masks (N, H, W).
            annotated: Whether the images have masks or boxes.

        Returns:
            Explainer -> area -> share of its positive heat there, (N,) in [0, 1], NaN without heat or without the area;
            and ``"area"`` -> area -> its share of the image, ``"center"`` -> area -> share of a centred Gaussian there.

        Raises:
            ValueError: If ``regions`` lacks a nuisance.
        """
        areas = dict(self._areas(case, regions, annotated=annotated))
        heat = {name: _shares(maps, areas) for name, maps in heatmaps.items()}
        center = CenterHeatmap().explain(case.classifier, case.images, case.target)
        alike = torch.ones_like(center)
        return heat, {AREA: _shares(alike, areas), CENTER: _shares(center, areas)}

    def _areas(
        self, case: Case, regions: Mapping[str, Tensor] | None, *, annotated: bool
    ) -> Iterator[tuple[str, Tensor]]:
        if annotated:
            yield OBJECT, case.masks
        if self.border:
            border = border_of(case.images[:, 0])
            yield BORDER, border & ~case.masks if annotated else border
        for name in self.nuisance:
            if name not in (regions or {}):
                listed = ", ".join(map(repr, regions or {})) or "none"
                raise ValueError(
                    f"Expected `nuisance` of ShortcutAlarm to name regions of the data (`Sample.regions`), which are: "
                    f"{listed}, but got {name!r}."
                )
            yield area_of_region(name), (regions or {})[name]


def area_of_region(name: str) -> str:
    """Return what an area is called that is a named region of the data, which may be called "object" itself."""
    return f"regions/{name}"


def _shares(heatmaps: Tensor, areas: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: share_of_heat_inside(heatmaps, area) for name, area in areas.items()}
