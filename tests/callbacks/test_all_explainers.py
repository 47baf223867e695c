"""Every explainer in one fit: all values there, training as without them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_xai import ExplanationMonitor, get_explainer, list_explainers
from lightning_xai.metrics import Sparseness
from tests._nets import ByBrightness, TinyViT
from tests.callbacks._runs import SIZE, Net, differing, monitor, train
from tests.callbacks._tiny import NO_PICTURES, Module, Squares, chosen, fit
from tests.explainers._made import FEW

TRANSFORMER = ["attention_rollout", "transformer_attribution"]
NOT_ON_TRANSFORMERS = ["cam", "deep_lift", "guided_backprop", "guided_grad_cam", "lrp"]
NAMES = {
    "CNN": [alias for alias in list_explainers() if alias not in TRANSFORMER],
    "transformer": [alias for alias in list_explainers() if alias not in NOT_ON_TRANSFORMERS],
}


class Transformer(Net):
    def __init__(self):
        super().__init__()
        self.net = TinyViT((SIZE, SIZE), channels=1, classes=2)

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


@pytest.mark.parametrize(("kind", "make"), [("CNN", Net), ("transformer", Transformer)])
@pytest.mark.filterwarnings("ignore:.*transformer:UserWarning", "ignore:XGradCAM divides:UserWarning")
def test_all_explainers_together(kind, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explainers = [get_explainer(alias, **FEW.get(alias, {})) for alias in NAMES[kind]]
    callback = monitor(explainers, Sparseness(), on_error="raise")
    explained, plain = train([callback], make), train([], make)
    assert differing(explained.state(), plain.state()) == []
    assert explained.values() == plain.values()
    assert len(callback.history) == 2
    for row in callback.history:
        for alias in NAMES[kind]:
            value, undefined = row[f"xai/{alias}/sparseness"], row.get(f"xai/{alias}/undefined/sparseness")
            assert math.isfinite(value) or undefined == 4, alias


def test_every_explainer_is_part_of_it():
    assert {*NAMES["CNN"], *NAMES["transformer"]} == set(list_explainers())


class TwoWays(Module):
    """Its graph depends on the image; it does not train."""

    def __init__(self):
        super().__init__()
        self.net = ByBrightness(1, 3)

    def training_step(self, batch, batch_idx):
        return self(batch[0]).sum() * 0.0


@pytest.mark.parametrize("brightest_first", [False, True])
def test_whichever_image_a_process_sees_first_the_layer_is_chosen_by_the_probes_first(brightest_first, tmp_path):
    data = Squares()
    images = data.images * torch.where(data.labels == 1, 1, -1)[:, None, None, None]
    order = data.labels.eq(1).int().argsort(descending=brightest_first)
    ours = ExplanationMonitor("grad_cam", "sparseness", num_images=3, reports=NO_PICTURES)
    val = DataLoader(TensorDataset(images[order], data.labels[order]), 4)
    fit(ours, module=TwoWays(), val=val, default_root_dir=tmp_path)
    dark = data.labels[chosen(images, data.labels, 3)[0]] != 1
    assert ours.plan.explainers["grad_cam"].picked == [f"the output of `net.{'second' if dark else 'first'}`"]
