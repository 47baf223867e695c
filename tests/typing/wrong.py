"""Wrong names and types of public calls: every marked line is an error to a type checker, and no other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lightning_xai as xai
from lightning_xai import functional
from lightning_xai.evidence import MaskingCurve

net = nn.Linear(2, 2)
images, heatmaps, target = torch.rand(2, 1, 4, 4), torch.rand(2, 4, 4), torch.tensor([0, 1])
case = xai.Case(net, images, target, heatmaps=heatmaps)
monitor = xai.ExplanationMonitor()

xai.GradCAM(layer="layer4")  # wrong
xai.GradCAM(target_layer=4)  # wrong
xai.GradCAM()(net, images, "cat")  # wrong
xai.RISE(num_mask=10)  # wrong
xai.LIME(num_samples="many")  # wrong
xai.Normalized(xai.GradCAM(), "min-max")  # wrong
xai.InsertionAUC(num_step=16)  # wrong
xai.InsertionAUC(num_steps="adaptive")  # wrong
xai.InsertionAUC(ties="middle")  # wrong
xai.MaxSensitivity(radius="small")  # wrong
xai.Sparseness().update(heatmap=heatmaps)  # wrong
functional.insertion_auc(net, images, heatmaps, target, num_step=8)  # wrong
functional.pointing_game(heatmaps, masks=3)  # wrong
functional.sparseness(net, heatmaps)  # wrong
xai.ExplanationMonitor(metric="sparseness")  # wrong
xai.ExplanationMonitor(num_images="few")  # wrong
xai.ExplanationMonitor(target="labels")  # wrong
xai.ExplanationMonitor(on_error="ignore")  # wrong
xai.ExplanationMonitor(reports=[xai.GradCAM()])  # wrong
xai.Readout(task="multi-label")  # wrong
xai.Readout(precision="fp16")  # wrong
xai.Grid(rows=3)  # wrong
xai.difference(monitor.history[0], monitor.history[1])  # wrong
xai.get_metric(3)  # wrong
xai.ShapesDataset(num_image=3)  # wrong
number: int = case[MaskingCurve("insertion")]  # wrong
text: str = xai.InsertionAUC().num_steps  # wrong
maps: list[Tensor] = xai.GradCAM()(net, images, 1)  # wrong
gone = xai.GradCam  # wrong
