"""What a cheaper reference would do to the skills: fewer points on its curves, or fewer cells hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from scipy.special import roots_jacobi
from torch import Tensor

from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.trained import Trained, trained_networks
from lightning_xai import Case, Classifier, GradCAM, MaskingCurve
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.evidence.masking.quadrature import _interpolating
from lightning_xai.evidence.masking.reference_area import OcclusionReference, RandomControl
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap

PROBE = 32
_GRIDS = (7, 5, 4)
_NODES = (10, 8, 6, 4)


def run(setting: Setting) -> Result:
    """Take every curve at its finest, and read from it what fewer points would have said."""
    parts = setting.size(cpu=224, gpu=224, quick=16)
    result = Result(
        f"FaithfulnessSkill by a cheaper reference, beside its standard error over {PROBE} images",
        "numerical error at most a fifth of the standard error",
    )
    for network in trained_networks(setting):
        count = setting.size(cpu=64, gpu=256, quick=8)
        few = replace(network, images=network.images[:count], target=network.target[:count])
        for row in _rows(few, parts):
            result.add(network=network.name, accuracy=network.accuracy, images=len(few.images), **row)
    return result


def _rows(network: Trained, parts: int) -> Iterator[dict[str, object]]:
    case = Case(
        Classifier(network.model, chunk_size=32, channels_last=True),
        network.images,
        network.target,
        explainer=GradCAM(),
    )
    references = {side: OcclusionReference(OcclusionMap((side, side), patch=None, baseline="blur")) for side in _GRIDS}
    own, random = _curves(case, parts), _curves(case.seen_with(RandomControl()), parts)
    lead = area(own) - area(random)
    first: tuple[float, float] | None = None
    for side, reference in references.items():
        curve = _curves(case.seen_with(reference), parts)
        lead_of_reference = area(curve) - area(random)
        skill, error = _skill(lead, lead_of_reference)
        first = first or (skill, error)
        yield {
            "reference": f"{side} x {side}, every point",
            "evaluations": side**2 + 2 * parts,
            "skill": skill,
            "standard_error": error,
            "from_first_in_standard_errors": (skill - first[0]) / first[1],
        }
        for nodes in _NODES:
            wrong = _by_quadrature(curve, nodes) - area(curve)
            mean = float((wrong.mean() ** 2 + wrong.var() / PROBE).sqrt())
            share = abs(skill) * mean / float(lead_of_reference.mean()) / error
            yield {
                "reference": f"{side} x {side}, {nodes} nodes",
                "evaluations": side**2 + 2 * nodes,
                "rms_share": share,
                "met": share <= 1 / 5,
            }


def _curves(case: Case, parts: int) -> Tensor:
    """Return the difference of insertion and deletion, deletion from its end on, (N, parts + 1) in float64."""
    insertion, deletion = (
        case[MaskingCurve(kind, baseline, parts)].double()
        for kind, baseline in (("insertion", "blur"), ("deletion", 0.0))
    )
    return insertion - deletion.flip(1)


def _skill(lead: Tensor, lead_of_reference: Tensor) -> tuple[float, float]:
    """Return the skill of all images, and the standard error that as many as a probe give it (jackknife)."""
    rows = torch.stack([lead, lead_of_reference], 1)
    total, count = rows.sum(0), len(rows)
    without = (total - rows)[:, 0] / (total - rows)[:, 1]
    variance = (count - 1) / count * (without - without.mean()).square().sum()
    return float(total[0] / total[1]), float((variance * count / PROBE).sqrt())


def _by_quadrature(curve: Tensor, nodes: int) -> Tensor:
    """Return the areas by the unchanged image, which comes last, and some nodes, read between the finest points."""
    shares = np.array([0.0, *(roots_jacobi(nodes, 0.0, 1.0)[0] + 1.0) / 2.0])
    place = torch.tensor(1.0 - shares) * (curve.shape[1] - 1)
    left = place.floor().long().clamp(max=curve.shape[1] - 2)
    points = torch.lerp(curve[:, left], curve[:, left + 1], (place - left).expand(len(curve), -1))
    return (points * torch.tensor(_interpolating(shares))).sum(1)
