"""What another memory layout and bfloat16 save of a masking curve, and what bfloat16 does to its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.curve_cost import heatmaps_of
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting, SmallCNN
from benchmarks.timing import compare
from benchmarks.trained import Trained, trained_networks
from lightning_xai import Case, Classifier, GradCAM, MaskingCurve, Readout
from lightning_xai.metrics import FaithfulnessSkill, InsertionDeletion, RelativeFaithfulness

PROBE, CHUNK, SIDE = 32, 16, 112
_WAYS = {
    "channels_last": {"channels_last": True},
    "bf16": {"readout": Readout(precision="bf16")},
    "both": {"channels_last": True, "readout": Readout(precision="bf16")},
}
_DRAWS = 100


def run(setting: Setting) -> Result:
    """Time a deletion curve in every way beside the usual one; then score trained networks."""
    result = Result(
        "A deletion curve beside the usual one (times, greatest difference of an area); what bf16 does to means over "
        f"{PROBE} images, root mean square as a share of their standard error"
    )
    for name, model in _models().items():
        for way in _WAYS:
            result.add(network=name, way=way, **_cost(setting, model.eval().to(setting.device), way))
    for network in trained_networks(setting):
        for row in _errors(network):
            result.add(network=network.name, **row)
    return result


def _models() -> dict[str, nn.Module]:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return {"small CNN": SmallCNN(), "resnet18": resnet18(num_classes=10)}


def _cost(setting: Setting, model: nn.Module, way: str) -> dict[str, object]:
    count = setting.size(cpu=PROBE // 4, gpu=PROBE, quick=2)
    side = setting.size(cpu=SIDE, gpu=SIDE, quick=32)
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1)).to(setting.device)
    target = setting.target(count)

    def areas(**settings: object) -> Callable[[], Tensor]:
        def evaluate() -> Tensor:
            classifier = Classifier(model, chunk_size=CHUNK, **settings)  # type: ignore[arg-type]
            curve = MaskingCurve()
            return curve.area(Case(classifier, images, target, heatmaps=heatmaps_of(images)))

        return evaluate

    other, usual = areas(**_WAYS[way]), areas()
    found = compare(other, usual, setting.size(cpu=7, gpu=11, quick=1), setting.device)
    return {"images": count, "largest_difference": float((other() - usual()).abs().max()), **ratios(found, None)}


def _errors(network: Trained) -> Iterator[dict[str, object]]:
    heatmaps = GradCAM()(network.model, network.images, network.target)
    count = len(network.images)
    generator = torch.Generator().manual_seed(0)
    probes = [torch.randperm(count, generator=generator)[:PROBE] for _ in range(_DRAWS)]
    cases = [
        Case(Classifier(network.model, one, chunk_size=CHUNK), network.images, network.target, heatmaps=heatmaps)
        for one in (Readout(), Readout(precision="bf16"))
    ]
    for metric in (InsertionDeletion(), RelativeFaithfulness(), FaithfulnessSkill()):
        rows = [metric.score(case) for case in cases]
        values = torch.tensor([[metric.estimate(one[probe]).value for one in rows] for probe in probes])
        sampling = torch.tensor([metric.estimate(rows[0][probe]).error for probe in probes]).nanmean()
        per_image = [metric.per_image(one) for one in rows]
        yield {
            "accuracy": network.accuracy,
            "images": count,
            "metric": type(metric).__name__,
            "value": metric.estimate(rows[0]).value,
            "value_in_bf16": metric.estimate(rows[1]).value,
            "standard_error": float(sampling),
            "rms_share": float((values[:, 1] - values[:, 0]).square().nanmean().sqrt() / sampling),
            "largest_of_an_image": float((per_image[1] - per_image[0]).nan_to_num(0.0).abs().max()),
        }
