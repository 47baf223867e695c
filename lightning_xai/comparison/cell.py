"""The places of a comparison's table: what is asked of which model, about which images."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_xai.probing.target import TargetRule


@dataclass(frozen=True)
class Setting:
    """Under what explainers are compared with each other, by name.

    Attributes:
        model: Whose classes are explained.
        data: The images.
        transform: What was done to them; ``"none"`` if nothing.
        target: Which class of each image is explained.
    """

    model: str
    data: str
    transform: str
    target: TargetRule

    def __str__(self) -> str:
        """Return it in words, such as ``resnet18 · val · target=label``."""
        transform = [] if self.transform == NO_TRANSFORM else [self.transform]
        return " · ".join([self.model, self.data, *transform, f"target={self.target}"])


NO_TRANSFORM = "none"


@dataclass(frozen=True)
class Cell:
    """One explainer in one setting: its heatmaps are made once, for all metrics."""

    setting: Setting
    explainer: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.setting} · {self.explainer}"

    def names(self, metric: str) -> dict[str, str]:
        """Return the names of a metric's place in the table, by column of the tidy rows."""
        setting = self.setting
        return {
            "model": setting.model,
            "data": setting.data,
            "transform": setting.transform,
            "target_rule": str(setting.target),
            "explainer": self.explainer,
            "metric": metric,
        }


@dataclass(frozen=True)
class Part:
    """Some batches of a cell, which one process computes.

    Attributes:
        chunks: Numbers of the batches.
    """

    chunks: range

    def __str__(self) -> str:
        """Return its name among the parts of the cell, such as ``8-15``."""
        return f"{self.chunks[0]}-{self.chunks[-1]}"


@dataclass(frozen=True)
class Failure:
    """Why a metric has no values in a cell.

    Attributes:
        cell: Where.
        metric: Its name.
        reason: The error in words.
        is_error: False if it just does not apply, as a metric of annotated objects on data without any.
    """

    cell: Cell
    metric: str
    reason: str
    is_error: bool = True
