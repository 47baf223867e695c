"""MoRF curves of Grad-CAM and HiResCAM (Figure 14)."""

from __future__ import annotations

import math

from lightning_xai.comparison.records import Records
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.explainers.cam.grad_cam import GradCAM
from lightning_xai.explainers.cam.hires_cam import HiResCAM
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.hirescam.explained import explained_images


def morf_curves(context: AnalysisContext, part: str, grid: int = 8, num_images: int = 16) -> Records:
    """Return the mean probability of the predicted class after each removed cell, uniform noise in its place.

    Args:
        context: Of the analysis.
        part: Whose networks and images.
        grid: Cells per side.
        num_images: Of each network.
    """
    curve = MaskingCurve("deletion", "uniform", grid * grid, grid=(grid, grid))
    rows = []
    for one in explained_images(context, part, num_images, {"Grad-CAM": GradCAM(), "HiResCAM": HiResCAM()}):
        for explainer, case in one.cases.items():
            values = case[curve]
            errors = values.std(0) / math.sqrt(len(values))
            numbers = zip(values.mean(0).tolist(), errors.tolist(), strict=True)
            rows += [(one.network, explainer, step, *number) for step, number in enumerate(numbers)]
    return Records(("network", "explainer", "cells", "probability", "error"), tuple(rows))
