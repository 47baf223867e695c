"""What a cheaper skill would say: fewer points on its curves, fewer cells hidden, fewer images with a reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import roots_jacobi
from torch import Tensor

from benchmarks.probe_error import PROBE, of_a_mean
from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.trained import Trained, trained_networks
from lightning_xai import Case, Classifier, GradCAM, MaskingCurve
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.evidence.masking.quadrature import _interpolating
from lightning_xai.evidence.masking.reference_area import OcclusionReference, RandomControl
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap

LIMIT = 1 / 5
_GRIDS = (7, 5, 4)
_USUAL = 10
_NODES = ((10, 10), (10, 8), (10, 6), (10, 5), (10, 4), (8, 8), (6, 6), (5, 5), (4, 4))  # of control and reference
_KINDS = ("insertion", "deletion")


def run(setting: Setting) -> Result:
    """Take every curve at its finest, and read from it what fewer points would have said."""
    parts = setting.size(cpu=112, gpu=224, quick=16)
    result = Result(
        f"Skills by fewer evaluations: root mean square error as a share of the standard error over {PROBE} images",
        f"at most {LIMIT:.1f} of the standard error",
    )
    for network in trained_networks(setting):
        count = setting.size(cpu=64, gpu=256, quick=8)
        few = network.first(count)
        for row in _rows(few, parts):
            result.add(network=network.name, accuracy=network.accuracy, images=len(few.images), **row)
    return result


@dataclass(frozen=True)
class _Curves:
    """Curves of one heatmap of each image, deletion from its end on, (N, parts + 1) in float64."""

    insertion: Tensor
    deletion: Tensor

    def scores(self, nodes: int | None = None) -> Tensor:
        """Return insertion − deletion and insertion areas, (N, 2), by quadrature or by every point."""
        areas = [area(one) if nodes is None else _by_quadrature(one, nodes) for one in (self.insertion, self.deletion)]
        return torch.stack([areas[0] - areas[1], areas[0]], 1)


def _rows(network: Trained, parts: int) -> Iterator[dict[str, object]]:
    classifier = Classifier(network.model, chunk_size=32, channels_last=True)
    case = Case(classifier, network.images, network.target, explainer=GradCAM())
    own, control = _curves(case, parts), _curves(case.seen_with(RandomControl()), parts)
    usual: Tensor | None = None
    for side in _GRIDS:
        heatmaps = OcclusionReference(OcclusionMap((side, side), patch=None, baseline="blur"))
        reference = _curves(case.seen_with(heatmaps), parts)
        exact = torch.stack([one.scores() for one in (own, control, reference)], 2)  # (N, 2 skills, 3)
        skills, errors = _skill(exact)
        usual = skills if usual is None else usual
        yield {
            "what": f"{side} x {side} cells, every point",
            "evaluations": side**2 + 2 * _USUAL,
            **_named("skill", skills),
            **_named("error", errors),
            **_named("moved", (skills - usual) / errors),
            **_named("error_by_half", _error_by_half(exact)),
        }
        if side == _GRIDS[0]:
            for nodes in _NODES:
                by_nodes = [one.scores(n) for one, n in zip((own, control, reference), (_USUAL, *nodes), strict=True)]
                yield _error_row(exact, torch.stack(by_nodes, 2), nodes)


def _error_row(exact: Tensor, found: Tensor, nodes: tuple[int, int]) -> dict[str, object]:
    """Return how far skills and gain are off by some nodes on the control's and the reference's curves."""
    skills, errors = _skill(exact)
    wrong, exact_gain = found - exact, exact[:, 0, 0] - exact[:, 0, 1]
    gap = (exact[..., 2] - exact[..., 1]).mean(0)
    of_skill = (wrong[..., 0] - wrong[..., 1] - skills * (wrong[..., 2] - wrong[..., 1])) / gap
    shares = of_a_mean(of_skill) / errors
    of_gain = of_a_mean(wrong[:, 0, :1] - wrong[:, 0, 1:2]) / (exact_gain.std() / PROBE**0.5)
    return {
        "what": f"nodes of the control {nodes[0]}, of the reference {nodes[1]}",
        "evaluations": _GRIDS[0] ** 2 + 2 * nodes[1] - 2 * (_USUAL - nodes[0]),
        **_named("rms", shares),
        "gain_rms": float(of_gain),
        "met": bool((shares <= LIMIT).all() and of_gain <= LIMIT),
    }


def _named(what: str, skills: Tensor) -> dict[str, float]:
    return {f"{name}_{what}": float(value) for name, value in zip(("faithfulness", "insertion"), skills, strict=True)}


def _curves(case: Case, parts: int) -> _Curves:
    insertion, deletion = (
        case[MaskingCurve(kind, baseline, parts)].double()
        for kind, baseline in (("insertion", "blur"), ("deletion", 0.0))
    )
    return _Curves(insertion, deletion.flip(1))


def _skill(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the skills (2,) of all images, and the standard error that as many as a probe give it (jackknife)."""
    leads, count = scores[..., (0, 2)] - scores[..., 1:2], len(scores)
    total = leads.sum(0)
    without = (total - leads)[..., 0] / (total - leads)[..., 1]
    variance = (count - 1) / count * (without - without.mean(0)).square().sum(0)
    return total[:, 0] / total[:, 1], (variance * count / PROBE).sqrt()


def _error_by_half(scores: Tensor) -> Tensor:
    """Return the standard errors (2,) where half of a probe has a reference: the mean lead of all by the gap of these.

    ``Var(Ā / B̄) = (Var A / n + s² Var B / (n/2) − 2 s Cov(A, B) / n) / B̄²`` to first order.
    """
    own, gap = scores[..., 0] - scores[..., 1], scores[..., 2] - scores[..., 1]
    skill = own.mean(0) / gap.mean(0)
    together = ((own - own.mean(0)) * (gap - gap.mean(0))).sum(0) / (len(scores) - 1)
    variance = own.var(0) / PROBE + skill**2 * gap.var(0) / (PROBE / 2) - 2 * skill * together / PROBE
    return variance.sqrt() / gap.mean(0)


def _by_quadrature(curve: Tensor, nodes: int) -> Tensor:
    """Return the areas by the unchanged image, which comes last, and some nodes, read between the finest points."""
    shares = np.array([0.0, *(roots_jacobi(nodes, 0.0, 1.0)[0] + 1.0) / 2.0])
    place = torch.tensor(1.0 - shares) * (curve.shape[1] - 1)
    left = place.floor().long().clamp(max=curve.shape[1] - 2)
    points = torch.lerp(curve[:, left], curve[:, left + 1], (place - left).expand(len(curve), -1))
    return (points * torch.tensor(_interpolating(shares))).sum(1)
