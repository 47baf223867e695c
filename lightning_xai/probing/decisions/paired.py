"""Explanations of one run that can be compared image by image, and the key that names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.explained import GAIN, ExplainedEpoch
from lightning_xai.probing.image_scores import ImageScores, difference
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import has_control

Mode: TypeAlias = Literal["auto", "min", "max"]


@dataclass(frozen=True)
class Monitored:
    """The rows behind a logged key.

    Attributes:
        key: Such as ``"xai/faithfulness_gain"``.
        name: Of the metric or the gain, such as ``"faithfulness_gain"``.
        explainer: Whose heatmaps.
        loader: Index of the validation loader.
        sign: 1 where higher is better, −1 where lower is.
    """

    key: str
    name: str
    explainer: str
    loader: int
    sign: float

    def of(self, epoch: ExplainedEpoch) -> ImageScores | None:
        """Return the values per image in an explained epoch; None where it has none, as one of an old checkpoint."""
        found = epoch.loaders.get(self.loader)
        rows = {} if found is None else found.rows.get(self.explainer, {})
        if found is None or self.name.removesuffix(GAIN) not in rows:
            return None
        return found.scores(self.name, self.explainer)


def monitored(keys: Keys, key: str, mode: Mode = "auto") -> Monitored:
    """Return what stands behind a key.

    Args:
        keys: Of the monitor.
        key: In full; of several loaders with its ``/dataloader_idx_<i>``.
        mode: Whether the best value is the least or the greatest; the metric's own direction if ``"auto"``.

    Raises:
        ValueError: If no values per image stand behind it (the message lists the keys that have them, and the nearest),
            or its metric has no direction and ``mode`` names none.
    """
    check_choice(mode, ("auto", "min", "max"), "mode")
    index = re.search(r"/dataloader_idx_(\d+)$", key)
    base = key if index is None else key[: index.start()]
    by_key = {
        keys.full(name + suffix, explainer=explainer): (name + suffix, explainer, metric)
        for name, metric in keys.plan.metrics(annotated=True).items()
        for explainer in keys.plan.explainers
        for suffix in ("", *([GAIN] if has_control(metric) else []))
    }
    check_choice(base, sorted(by_key), "monitor")
    name, explainer, metric = by_key[base]
    higher = True if name != metric_name(name) else metric.higher_is_better
    if mode != "auto":
        higher = mode == "max"
    if higher is None:
        raise ValueError(
            f"Expected `mode` to say which values of {key!r} are better, 'min' or 'max', because its metric has no "
            "direction, but got 'auto'."
        )
    return Monitored(key, name, explainer, 0 if index is None else int(index[1]), 1.0 if higher else -1.0)


def metric_name(name: str) -> str:
    """Return the metric of a name that may be that of its gain over the random control."""
    return name.removesuffix(GAIN)


@dataclass(frozen=True, eq=False)
class Explanation:
    """One explained validation, as decisions see it.

    Attributes:
        epoch: From 0.
        scores: Values per image.
    """

    epoch: int
    scores: ImageScores


def same_probe(explanations: Sequence[Explanation]) -> list[Explanation]:
    """Return the last of them that are of the images of the last one: others cannot be compared image by image."""
    kept: list[Explanation] = []  # the latest first
    for one in reversed(explanations):
        if kept and not same_images(one.scores, kept[0].scores):
            break
        kept.append(one)
    return kept[::-1]


def same_images(a: ImageScores, b: ImageScores) -> bool:
    """Return whether two scores are of one set of images."""
    return set(a.keys.tolist()) == set(b.keys.tolist())


def better_by(a: ImageScores, b: ImageScores, sign: float) -> Estimate:
    """Return by how much ``a`` is better than ``b``, paired image by image; NaN if no image is shared."""
    found = difference(a, b)
    return replace(found, value=sign * found.value)


def mean_per_image(scores: Sequence[ImageScores], like: ImageScores) -> ImageScores:
    """Return each image's mean over several epochs, for the images and explained classes of ``like``.

    An epoch in which an image is undefined, or had another explained class, is left out of that image's mean; an image
    without any is NaN.
    """
    aligned = [_aligned(one, like) for one in scores]
    rows = torch.stack([one for one, _ in aligned]).nanmean(0)
    if like.control_rows is None:
        return replace(like, rows=rows)
    control = torch.stack([one for _, one in aligned if one is not None]).nanmean(0)
    return replace(like, rows=rows, control_rows=control)


def _aligned(scores: ImageScores, like: ImageScores) -> tuple[Tensor, Tensor | None]:
    """Return rows and control rows in the order of ``like``, both NaN where one is undefined or there is none."""
    place = _places(scores, like)
    rows = scores.rows.double()[place]
    control = None if scores.control_rows is None else scores.control_rows.double()[place]
    missing = _any_nan(rows) | (place < 0)
    if control is not None:
        missing = missing | _any_nan(control)
        control[missing] = torch.nan
    rows[missing] = torch.nan
    return rows, control


def _places(scores: ImageScores, like: ImageScores) -> Tensor:
    """Return where each image of ``like``, with its explained class, stands among the scores, −1 where it does not."""
    if torch.equal(scores.keys, like.keys) and torch.equal(scores.target, like.target):
        return torch.arange(len(like.keys))
    places = {pair: index for index, pair in enumerate(_images(scores))}
    return torch.tensor([places.get(pair, -1) for pair in _images(like)], dtype=torch.int64)


def _images(scores: ImageScores) -> list[tuple[int, int]]:
    return list(zip(scores.keys.tolist(), scores.target.tolist(), strict=True))


def _any_nan(rows: Tensor) -> Tensor:
    return rows.isnan() if rows.ndim == 1 else rows.isnan().any(1)
