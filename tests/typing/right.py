"""What a user writes; no type checker has anything to say about it."""

from __future__ import annotations

import lightning as L
import pytorch_lightning as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

import lightning_xai as xai
from lightning_xai import functional
from lightning_xai.evidence import Evidence, MaskingCurve
from lightning_xai.model import Classifier

net = nn.Linear(2, 2)
images, heatmaps, target = torch.rand(2, 1, 4, 4), torch.rand(2, 4, 4), torch.tensor([0, 1])

explainer = xai.GradCAM(target_layer="layer4", relu=False)
maps: Tensor = explainer(net, images, target)
normalized: Tensor = xai.Normalized(explainer, "minmax")(net, images, 1)
lime = xai.LIME(num_samples=100)
named: xai.Explainer = xai.get_explainer("grad_cam", target_layer="layer4")
names: list[str] = xai.list_explainers("cam")

metric = xai.InsertionAUC(num_steps=16, baseline="blur", ties="last", sync_on_compute=False)
metric.update(model=net, images=images, heatmaps=heatmaps, target=target)
steps = metric.num_steps
estimate: xai.Estimate = metric.estimate(metric.rows)
value: float = estimate.value
per_image: Tensor = functional.insertion_auc(net, images, heatmaps, target, num_steps=8)
hit: Tensor = functional.pointing_game(heatmaps, heatmaps > 0, tolerance=2.0)
suite = xai.MetricSuite(["insertion_auc", xai.Sparseness()])

case = xai.Case(net, images, target, heatmaps=heatmaps)
curve: Tensor = case[MaskingCurve("insertion", num_steps=4)]

monitor = xai.ExplanationMonitor(
    ["grad_cam", xai.HiResCAM()],
    metrics={"fine": xai.InsertionDeletion(64), "sparse": "sparseness"},
    num_images=16,
    target="predicted",
    readout=xai.Readout(task="multilabel", chunk_size=8, precision="bf16"),
    reports=[xai.Scalars(), xai.History(images=False), xai.Grid(num_images=4, mean=[0.5], std=[0.5])],
    on_error="raise",
)
other = xai.ExplanationMonitor("explainer_of_another_package")
trainer = L.Trainer(callbacks=[monitor, EarlyStopping("xai/faithfulness", mode="max")])
trainer_of_the_other_package = pl.Trainer(callbacks=[monitor])
if monitor.latest is not None:
    gap: xai.Estimate = xai.difference(
        monitor.latest.scores("faithfulness_gain"), monitor.history[0].scores("faithfulness_gain")
    )
    faithfulness: float = monitor.history[-1]["xai/faithfulness"]


class Peak(xai.ExplanationMetric):
    """A metric of the user's own."""

    higher_is_better = True

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power
        self.curve = MaskingCurve("deletion")

    def score(self, case: xai.Case) -> Tensor:
        return case.heatmaps.amax((1, 2)) ** self.power + case[self.curve].mean(1)


class Constant(Evidence[float]):
    """Evidence of the user's own, and what it returns."""

    def collect(self, case: xai.Case) -> float:
        return float(len(case))

    def evaluations(self, explaining: int = 1) -> int:
        return 0


class First(xai.Explainer):
    """An explainer of the user's own."""

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        return images[:, 0]


class Tell(xai.Report):
    """A report of the user's own."""

    def publish(self, epoch: xai.ExplainedEpoch, run: object) -> None:
        _ = epoch.estimates["xai/faithfulness"].error


constant: float = case[Constant()]
data = xai.ShapesDataset(32, seed=1)
xai.ExplanationMonitor(target="top_2")
