"""Peak memory of every explainer, and of an explained probe, beside that of a plain validation batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.live_bytes import peak_bytes
from benchmarks.result import Result
from benchmarks.setting import CLASSES, Setting
from lightning_xai import Classifier, Explainer, get_explainer, list_explainers
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.sample import Sample

CHUNK = 8
PROBES = (8, 32, 128)
_FEW: dict[str, dict[str, object]] = {  # what is done again and again needs no more memory the second time
    "expected_gradients": {"num_samples": 16},
    "information_bottleneck": {"num_steps": 2},
    "integrated_gradients": {"num_steps": 16},
    "kernel_shap": {"num_samples": 130},
    "lime": {"num_samples": 32},
    "occlusion": {"window": 32, "stride": 32},
    "rise": {"num_masks": 32},
}
_WITHOUT_A_DEFAULT = {"captum_explainer"}


def run(setting: Setting) -> Result:
    """Measure the tensors that exist at a time beside the weights, with 8 images per forward."""
    result = Result(
        f"Peak memory with {CHUNK} images per forward, beside a forward of {CHUNK} ready images without gradients",
        "all that a greater probe needs more are its heatmaps",
    )
    for alias in list_explainers():
        if alias in _WITHOUT_A_DEFAULT:
            continue
        name, model = _network(setting, alias)
        plain, batch = _plain(setting, model), setting.images(CHUNK)
        explained = _explained(setting, model, batch, alias)
        explained()  # finds the layer
        result.add(**_row(setting, name, alias, CHUNK, plain, explained))
    for row in _probes(setting):
        result.add(**row)
    return result


def _probes(setting: Setting) -> Iterator[dict[str, object]]:
    """Yield a row for each size of the probe, explained by Grad-CAM and scored by the default suite."""
    name, model = _network(setting, "grad_cam")
    plain = _plain(setting, model)
    rows = [_row(setting, name, "default suite", count, plain, _suite(setting, model, count)) for count in PROBES]
    yield rows[0]
    for (fewer, few), (count, row) in pairwise(zip(PROBES, rows, strict=True)):
        grown = (row["peak_MiB"] - few["peak_MiB"]) / (count - fewer)
        yield {**row, "more_per_image_MiB": grown, "met": grown <= 1.1 * setting.side**2 * 4 / 2**20}


def _row(
    setting: Setting, network: str, what: str, count: int, plain: float, work: Callable[[], object]
) -> dict[str, object]:
    peak = peak_bytes(work, setting.device) / 2**20
    return {
        "network": network,
        "what": what,
        "images": count,
        "plain_MiB": plain,
        "peak_MiB": peak,
        "ratio": peak / plain,
    }


def _plain(setting: Setting, model: nn.Module) -> float:
    batch = setting.images(CHUNK)

    def forward() -> Tensor:
        with torch.no_grad():
            return model(batch)

    return peak_bytes(forward, setting.device) / 2**20


def _explained(setting: Setting, model: nn.Module, images: Tensor, alias: str) -> Callable[[], Tensor]:
    explainer: Explainer = get_explainer(alias, **_FEW.get(alias, {}))
    explainer = explainer.with_references(setting.images(CHUNK))
    return lambda: explainer(Classifier(model, chunk_size=CHUNK), images, setting.target(len(images)))


def _suite(setting: Setting, model: nn.Module, count: int) -> Callable[[], object]:
    plan, target, images = Plan("grad_cam", None), setting.target(count), setting.images(count)
    sample = Sample(images, target)
    return lambda: plan.answers(Classifier(model, chunk_size=CHUNK), sample, target)


def _network(setting: Setting, alias: str) -> tuple[str, nn.Module]:
    """Return the small CNN, or a vision transformer of 0.2 million weights for what explains only these."""
    if alias not in list_explainers("transformer"):
        return "small CNN", setting.model("small CNN")
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    return "small ViT", VisionTransformer(setting.side, 16, 3, 4, 64, 128, num_classes=CLASSES).eval().to(
        setting.device
    )
