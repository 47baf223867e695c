from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lightning_xai import GradCAM
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.functional import adversarial_stability
from lightning_xai.metrics import AdversarialStability
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, close, squares, tiny_net


def _reference(view, epsilon=2 / 255, absolute=False):
    epsilon = epsilon * _naive.noise_unit(view, absolute)
    image = torch.from_numpy(view.image).requires_grad_()
    loss = nn.functional.cross_entropy(view.double(image[None]), torch.tensor([view.target]))
    (gradient,) = torch.autograd.grad(loss, image)
    attacked = (view.batch.images[0] + (epsilon * gradient.sign()).float()).double().numpy()
    after = squares(attacked, view.target).astype(np.float32)
    flat = np.ptp(view.heat) == 0 or np.ptp(after) == 0
    correlation = math.nan if flat else spearmanr(view.heat.flatten(), after.flatten()).statistic
    before = view.logits(view.image).argmax() == view.target
    survived = view.logits(attacked).argmax() == view.target
    return correlation, float(not survived) if before else -1.0


ENTRY = Entry(
    "adversarial_stability",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=({"epsilon": 0.2}, {"epsilon": 1}, {"epsilon": 0.2, "absolute": True}),
)


class Watching(Explainer):
    """Explain by the first channel, and keep the last images."""

    evaluations = 0

    def explain(self, classifier, images, target):
        self.seen = images
        return images[:, 0]


def _linear(weights):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    net[1].weight.data = torch.tensor(weights)
    return net


def test_by_hand():
    # the attack on class 0 takes 0.5 from the first pixel and adds it to the last: 3 0 0 2 becomes 2.5 -.5 .5 2.5
    net = _linear([[1.0, 1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    image, explainer = torch.tensor([[[[3.0, 0.0], [0.0, 2.0]]]]), Watching()
    given = {"heatmaps": image[:, 0], "epsilon": 0.5, "absolute": True}
    correlation, success = adversarial_stability(net, image, explainer, target=0, **given)
    close(explainer.seen, torch.tensor([[[[2.5, -0.5], [0.5, 2.5]]]]))
    # ranks 4 1.5 1.5 3 and 3.5 1 2 3.5
    assert correlation.item() == pytest.approx(np.corrcoef([4, 1.5, 1.5, 3], [3.5, 1, 2, 3.5])[0, 1], rel=1e-6)
    assert success.tolist() == [1.0]  # 3 - 2 = 1 above the other logit, 0; each of the four steps takes 0.5: -1 below


def test_success_rate_is_about_images_that_were_right():
    net = _linear([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    images = torch.zeros(3, 1, 2, 2)
    images[:, 0, 0, 0] = torch.tensor([0.1, 5.0, -5.0])  # falls, stands, was wrong
    images[:, 0, 1] = torch.rand(3, 2)
    metric = AdversarialStability(epsilon=0.1, absolute=True)
    assert metric.success_rate().isnan()
    metric.update(model=net, images=images, explainer=Watching(), target=0)
    assert metric.rows[:, 1].tolist() == [1.0, 0.0, -1.0]
    assert metric.success_rate() == 0.5


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_sure_model_is_attacked_all_the_same(scale):
    # with a margin of 1000 the gradient of the cross-entropy is 0 in float32
    net = _linear([[scale, 0.0, 0.0, 0.0], [0.0, scale, 0.0, 0.0]])
    image = torch.tensor([[[[0.51, -0.49], [0.0, 0.0]]]])
    assert adversarial_stability(net, image, Watching(), target=0, epsilon=0.6, absolute=True)[1].tolist() == [1.0]


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_other_tasks(task):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1 if task == "binary" else 3, bias=False))
    nn.init.constant_(net[1].weight, 1.0)
    net[1].weight.data[1:] = -1.0
    classifier = Classifier(net, Readout(task=task))
    image, explainer, target = torch.full((1, 1, 2, 2), 0.05), Watching(), 1 if task == "binary" else 0
    success = adversarial_stability(
        classifier, image, explainer, target, heatmaps=image[:, 0], epsilon=0.1, absolute=True
    )[1]
    close(explainer.seen, torch.full((1, 1, 2, 2), -0.05))
    assert success.tolist() == [1.0]


@pytest.mark.parametrize("chunk_size", [1, 2, 100])
def test_cost(chunk_size):
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    classifier = Classifier(net, Readout(chunk_size=chunk_size))
    metric = AdversarialStability()
    explainer = GradCAM(target_layer="0")
    metric.update(
        model=classifier, images=batch.images, heatmaps=batch.heatmaps, target=batch.target, explainer=explainer
    )
    assert count.images / 3 == metric.evaluations(explaining=1) == 3
    assert count.largest <= chunk_size


def test_a_model_without_input_gradient_says_so():
    class Detached(nn.Module):
        def forward(self, images):
            return images.detach().flatten(1)

    with pytest.raises(RuntimeError, match="no gradient reaches the input"):
        adversarial_stability(Detached(), torch.rand(1, 1, 2, 2), Watching(), target=0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"Expected `epsilon` to be > 0\.0, but got -1"):
        AdversarialStability(epsilon=-1)
