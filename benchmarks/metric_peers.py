"""Metrics that other packages have as well, each beside ours with settings that cost both the same per number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.setting import CLASSES
from lightning_xai import Case, Classifier, Explainer, ExplanationMetric, get_metric

STEPS = 24  # of curves and sets; Quantus cuts the values of three channels into multiples of three only
SUBSETS = 24
SAMPLES = 10
RADIUS = 0.02
_RAW = {"abs": False, "normalise": False, "disable_warnings": True}


@dataclass(frozen=True)
class Study:
    """What both sides are given.

    Attributes:
        chunk: Images that pass through the model at a time; peers take all images at once.
        layer: Name of the explainer's target layer.
        layers: Number of the model's layers that have parameters.
    """

    model: nn.Module
    chunk: int
    images: Tensor
    target: Tensor
    heatmaps: Tensor
    masks: Tensor
    explainer: Explainer
    layer: str
    layers: int

    def case(self) -> Case:
        """Return a fresh case, in which nothing is known yet."""
        classifier = Classifier(self.model, chunk_size=self.chunk)
        return Case(
            classifier, self.images, self.target, heatmaps=self.heatmaps, masks=self.masks, explainer=self.explainer
        )


@dataclass(frozen=True)
class Pair:
    """One of our metrics, and what computes a peer's."""

    ours: ExplanationMetric
    theirs: Callable[[], object]


_Row = tuple[str, dict[str, Any], str, dict[str, Any]]
"""Our alias and settings, the name in Quantus and its settings."""


def quantus_pairs(study: Study) -> list[Pair] | None:
    """Return what Quantus has; None if it is not installed."""
    if find_spec("quantus") is None:
        return None
    found = metrics_of_quantus(study.images.shape[-1], study.layer, study.layers)
    return [Pair(ours, _asked(study, theirs)) for ours, theirs in found]


def metrics_of_quantus(side: int, layer: str, layers: int) -> list[tuple[ExplanationMetric, Any]]:
    """Return our metrics with those of Quantus, for images (3, side, side); layers are the explained one, and how many.

    Raises:
        ModuleNotFoundError: If Quantus is not installed.
    """
    import quantus

    rows = [*_faithfulness(side), *_robustness(layer), *_LOCALIZATION, *_COMPLEXITY, *_randomization(layers)]
    return [
        (get_metric(alias, **ours), getattr(quantus, name)(**{**_RAW, **theirs})) for alias, ours, name, theirs in rows
    ]


def _faithfulness(side: int) -> list[_Row]:
    step = {"features_in_step": side * side // 8}  # values of three channels: a 24th of them
    patches = {"patch_size": side // 8}
    regions = {**patches, "regions_evaluation": 64, "perturb_baseline": "uniform"}
    subsets = {"nr_runs": SUBSETS, "subset_size": 3 * side * side // 5, "perturb_baseline": 0.0}
    return [
        ("pixel_flipping", {"num_steps": STEPS}, "PixelFlipping", step),
        ("faithfulness_estimate", {"num_chunks": STEPS}, "FaithfulnessEstimate", step),
        ("selectivity", {}, "Selectivity", patches),
        ("aopc", {}, "RegionPerturbation", regions),
        ("faithfulness_correlation", {"num_subsets": SUBSETS}, "FaithfulnessCorrelation", subsets),
    ]


def _robustness(layer: str) -> list[_Row]:
    shaken = {"nr_samples": SAMPLES, "lower_bound": RADIUS}
    steep = {"nr_samples": SAMPLES, "perturb_std": RADIUS}
    relative = {"nr_samples": SAMPLES, "perturb_func_kwargs": {"lower_bound": RADIUS, "upper_bound": None}}
    represented = {**relative, "layer_names": [layer]}
    return [
        ("max_sensitivity", {}, "MaxSensitivity", shaken),
        ("avg_sensitivity", {}, "AvgSensitivity", shaken),
        ("local_lipschitz", {}, "LocalLipschitzEstimate", steep),
        ("relative_input_stability", {}, "RelativeInputStability", relative),
        ("relative_output_stability", {}, "RelativeOutputStability", relative),
        ("relative_representation_stability", {}, "RelativeRepresentationStability", represented),
    ]


_LOCALIZATION: list[_Row] = [
    ("relevance_rank_accuracy", {}, "RelevanceRankAccuracy", {}),
    ("relevance_mass_accuracy", {}, "RelevanceMassAccuracy", {}),
    ("attribution_localization", {}, "AttributionLocalisation", {"abs": True}),
    ("top_k_intersection", {"k": 1000}, "TopKIntersection", {"k": 1000}),
    ("localization_auc", {}, "AUC", {}),
]

_COMPLEXITY: list[_Row] = [
    ("sparseness", {}, "Sparseness", {"abs": True}),
    ("complexity", {}, "Complexity", {"abs": True}),
    ("effective_complexity", {}, "EffectiveComplexity", {"abs": True}),
]


def _randomization(layers: int) -> list[_Row]:
    return [
        ("parameter_randomization", {"num_steps": layers}, "MPRT", {}),
        ("random_logit", {}, "RandomLogit", {"num_classes": CLASSES}),
    ]


def _asked(study: Study, metric: Any) -> Callable[[], object]:
    """Return what hands everything to a metric of Quantus as arrays, as its documentation says."""

    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        module = model if isinstance(model, nn.Module) else model.get_model()
        images = torch.as_tensor(inputs, dtype=torch.float32, device=study.images.device)
        return study.explainer(module, images, torch.as_tensor(targets, device=images.device))[:, None].cpu().numpy()

    given = {"softmax": True, "channel_first": True, "device": str(study.images.device), "explain_func": explain}
    if type(metric).__module__.startswith("quantus.metrics.localisation"):
        given["s_batch"] = study.masks[:, None].cpu().numpy()

    def run() -> object:
        return metric(
            model=study.model,
            x_batch=study.images.cpu().numpy(),
            y_batch=study.target.cpu().numpy(),
            a_batch=study.heatmaps[:, None].cpu().numpy().copy(),
            **given,
        )

    return run


def captum_pairs(study: Study) -> list[Pair] | None:
    """Return what captum has; None if it is not installed."""
    try:
        from captum.metrics import infidelity, sensitivity_max
    except ModuleNotFoundError:
        return None

    def shaken(images: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.2 * torch.randn_like(images)
        return noise, images - noise

    def explained(images: Tensor | tuple[Tensor, ...], target: Tensor) -> tuple[Tensor]:
        return (study.explainer(study.model, images[0] if isinstance(images, tuple) else images, target),)

    def unfaithful() -> Tensor:
        maps = study.heatmaps[:, None].expand_as(study.images)
        return infidelity(
            study.model,
            shaken,
            study.images,
            maps,
            target=study.target,
            n_perturb_samples=STEPS,
            max_examples_per_batch=study.chunk,
        )

    def sensitive() -> Tensor:
        return sensitivity_max(
            explained,
            study.images,
            perturb_radius=RADIUS,
            n_perturb_samples=SAMPLES,
            max_examples_per_batch=study.chunk,
            target=study.target,
        )

    return [
        Pair(get_metric("infidelity", perturbation="gaussian", num_samples=STEPS), unfaithful),
        Pair(get_metric("max_sensitivity"), sensitive),
    ]


PEERS: dict[str, Callable[[Study], list[Pair] | None]] = {"Quantus": quantus_pairs, "captum": captum_pairs}
