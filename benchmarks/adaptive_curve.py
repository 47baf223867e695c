"""`num_steps="auto"` on a trained network: its area beside that of the 224-part curve, and what it costs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.result import Result
from benchmarks.setting import Setting, SmallCNN
from lightning_xai import Case, Classifier, Explainer, GradCAM, MaskingCurve, RandomHeatmap, ShapesDataset
from lightning_xai.evidence.masking.masking_curve import Steps, area
from lightning_xai.evidence.masking.refinement import FINEST

TOLERANCE = 0.01
SHARE = 1 / 3
_CURVES = {"deletion": 0.0, "insertion": "blur"}
_HEATMAPS: dict[str, Explainer] = {"Grad-CAM": GradCAM("5"), "random 7×7": RandomHeatmap()}


def run(setting: Setting) -> Result:
    """Train on drawn shapes, then compare curves of Grad-CAM and of random heatmaps."""
    result = Result(
        f"num_steps='auto', tolerance {TOLERANCE}, against num_steps={FINEST} on a trained network",
        f"mean area within {TOLERANCE}, at most {SHARE:.0%} of the evaluations",
    )
    count = setting.size(cpu=64, gpu=256, quick=4)
    model, accuracy = _trained(setting)
    images, target = _tensors(ShapesDataset(count, seed=2), setting.device)
    for heat, explainer in _HEATMAPS.items():
        heatmaps = explainer(model, images, target)
        for direction, baseline in _CURVES.items():
            curves: dict[Steps, MaskingCurve] = {
                steps: MaskingCurve(direction, baseline, steps, tolerance=TOLERANCE if steps == "auto" else None)  # type: ignore[arg-type]
                for steps in (FINEST, "auto", 32)
            }
            case = Case(Classifier(model, chunk_size=64), images, target, heatmaps=heatmaps)
            fine, fixed = area(case[curves[FINEST]]), area(case[curves[32]])
            found = curves["auto"].refine(case)
            spent = found.evaluated.sum(1).float()
            error = (area(found.curve) - fine).abs()
            off = float((area(found.curve).mean() - fine.mean()).abs())
            result.add(
                heatmaps=heat,
                curve=direction,
                images=count,
                accuracy=accuracy,
                mean_area=float(fine.mean()),
                mean_area_off_by=off,
                images_within_tolerance=float((error <= TOLERANCE).float().mean()),
                largest_error=float(error.max()),
                largest_error_of_32_steps=float((fixed - fine).abs().max()),
                evaluations=float(spent.mean()),
                most_evaluations=int(spent.max()),
                share_of_224=float(spent.mean()) / (FINEST + 1),
                met=setting.quick or (off <= TOLERANCE and float(spent.mean()) <= SHARE * (FINEST + 1)),
            )
    return result


def _trained(setting: Setting) -> tuple[nn.Module, float]:
    """Return a small network that was trained on shapes, and its accuracy on others."""
    torch.manual_seed(0)
    model = SmallCNN().to(setting.device)
    images, target = _tensors(ShapesDataset(setting.size(cpu=4096, gpu=4096, quick=64)), setting.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    for _ in range(setting.size(cpu=10, gpu=20, quick=1)):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), target[chosen]).backward()
            optimizer.step()
    others, classes = _tensors(ShapesDataset(256, seed=1), setting.device)
    with torch.no_grad():
        accuracy = (model.eval()(others).argmax(1) == classes).float().mean()
    return model, float(accuracy)


def _tensors(data: ShapesDataset, device: torch.device) -> tuple[Tensor, Tensor]:
    items = [data[index] for index in range(len(data))]
    images = torch.stack([item["image"] for item in items])
    return images.to(device), torch.tensor([int(item["label"]) for item in items], device=device)
