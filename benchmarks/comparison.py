"""A comparison of explainers by metrics, beside Quantus' `evaluate` with the same explainers, metrics and images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.evaluations import evaluations
from benchmarks.metric_peers import metrics_of_quantus
from benchmarks.peers import last_features
from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import Comparison, Explainer, GradCAM, InputXGradient, LayerCAM, Saliency, Sample

METRICS = (
    "pixel_flipping",
    "faithfulness_correlation",
    "max_sensitivity",
    "avg_sensitivity",
    "relevance_mass_accuracy",
    "sparseness",
)
SIDE = 64
LIMIT = 1.0


def run(setting: Setting) -> Result:
    """Compare four explainers by six metrics; then with our controls, which always run, as explainers of both."""
    result = Result("Comparison: ours / Quantus' evaluate", f"ours at most {LIMIT}x, with three controls more")
    if find_spec("quantus") is None:
        result.add(explainers="four", beside="Quantus: not installed")
        return result
    model = setting.model(setting.names[0])
    images = setting.images(setting.size(cpu=32, gpu=32, quick=2))[:, :, :SIDE, :SIDE].contiguous()
    masks = torch.zeros(images[:, 0].shape, dtype=torch.bool, device=images.device)
    masks[:, : SIDE // 2, : SIDE // 3] = True
    sample = Sample(images.cpu(), setting.target(len(images)).cpu(), masks=masks.cpu())
    layer = next(name for name, module in model.named_modules() if module is last_features(model))
    chosen: dict[str, Explainer] = {
        one.alias: one for one in (GradCAM(layer), LayerCAM(layer), Saliency(), InputXGradient())
    }
    compared = Comparison(model, {"images": sample}, chosen, "sparseness").run()
    beside = {"four": chosen, "four and the controls": dict(compared.explainers_by_name)}
    for name, explainers in beside.items():
        result.add(explainers=name, **_row(setting, model, sample, layer, chosen, explainers))
    return result


def _row(
    setting: Setting,
    model: nn.Module,
    sample: Sample,
    layer: str,
    chosen: Mapping[str, Explainer],
    theirs: Mapping[str, Explainer],
) -> dict[str, Any]:
    layers = sum(hasattr(module, "reset_parameters") for module in model.modules())
    pairs = [pair for pair in metrics_of_quantus(SIDE, layer, layers) if pair[0].alias in METRICS]

    def ours() -> object:
        return Comparison(model, {"images": sample}, chosen, [own for own, _ in pairs], progress=False).run()

    peer = _evaluated(setting, model, sample, theirs, {own.alias: metric for own, metric in pairs})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Quantus about what is asked on purpose
        counts = {
            name: evaluations(model, work) / len(sample.images)
            for name, work in {"our_evaluations": ours, "their_evaluations": peer}.items()
        }
        found = compare(ours, peer, setting.size(cpu=2, gpu=5, quick=1), setting.device)
    return {"metrics": len(pairs), "images": len(sample.images), **counts, **ratios(found, setting.limit(LIMIT))}


def _evaluated(
    setting: Setting, model: nn.Module, sample: Sample, explainers: Mapping[str, Explainer], metrics: Mapping[str, Any]
) -> Callable[[], object]:
    """Return what evaluates all explainers by all metrics as Quantus' documentation says."""
    import quantus

    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, method: str, **_: Any) -> np.ndarray:
        module = model if isinstance(model, nn.Module) else model.get_model()
        images = torch.as_tensor(inputs, dtype=torch.float32, device=setting.device)
        return _array(explainers[method](module, images, torch.as_tensor(targets, device=setting.device)))

    def work() -> object:
        return quantus.evaluate(
            metrics=dict(metrics),
            xai_methods=dict.fromkeys(explainers, explain),
            model=model,
            x_batch=sample.images.numpy(),
            y_batch=sample.labels.numpy(),
            s_batch=_array(sample.masks),
            explain_func_kwargs={},
            call_kwargs={"all": {"softmax": True, "channel_first": True, "device": str(setting.device)}},
            verbose=False,
        )

    return work


def _array(maps: Tensor) -> np.ndarray:
    """Return maps (N, H, W) with the axis of channels that Quantus wants."""
    return maps[:, None].cpu().numpy()
