from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import differential_evolution
from torch import nn

from lightning_xai import FakeCAM, GradCAM
from lightning_xai._randomness import content_keys, random_bits, uniform
from lightning_xai.evidence import Case
from lightning_xai.evidence.neighbours.one_pixel_attack import OnePixelAttack
from lightning_xai.functional import one_pixel_sensitivity
from lightning_xai.metrics import OnePixelSensitivity
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics._harness import Batch, Entry, EvaluationCount, Squares, close, squares, tiny_net

SMALL = {"population": 20, "generations": 8, "seed": 5}  # succeeds where the default does, in a fourth of the time


def _attack(view, population, generations, seed):
    """Return row, column and values of the best pixel of each channel's range, one evaluation at a time."""
    height, width = view.heat.shape
    clean, key = view.logits(view.image), content_keys(view.batch.images)

    def changed(candidate):
        image = view.image.copy()
        y, x = min(int(candidate[0]), height - 1), min(int(candidate[1]), width - 1)
        image[:, y, x] = candidate[2:].astype(np.float32)
        return image, y, x

    def energy(candidates):
        found = []
        for candidate in candidates.T:
            logits = view.logits(changed(candidate)[0])
            exponentials = np.exp(logits - logits.max())
            found.append(exponentials[clean.argmax()] / exponentials.sum())
        return np.array(found)

    bounds = [(0, height), (0, width), *((channel.min(), channel.max()) for channel in view.image)]
    low, high = np.array(bounds).T
    draws = uniform(key, (population, 5), seed=seed, purpose="one pixel")[0].double().numpy()
    best = differential_evolution(
        energy,
        bounds,
        init=low + draws * (high - low),
        maxiter=generations,
        recombination=1.0,
        tol=0,
        atol=-1,
        polish=False,
        updating="deferred",
        vectorized=True,
        seed=np.random.default_rng(int(random_bits(key, (1,), seed=seed, purpose="one pixel"))),
    )
    image, y, x = changed(best.x)
    success = view.logits(image).argmax() != clean.argmax() == view.target
    return image, y, x, success


def _reference(view, when="before", population=32, generations=20, seed=0):
    image, y, x, success = _attack(view, population, generations, seed)
    if not success:
        return math.nan, math.nan, 0.0
    heat = view.heat if when == "before" else squares(image, view.target)
    below, equal = (heat < heat[y, x]).sum(), (heat == heat[y, x]).sum() - 1
    share = (below + equal / 2) / (heat.size - 1)
    spread = heat.max() - heat.min()
    flat = spread <= 1e-8 * np.abs(heat).max()
    return math.nan if flat else (heat[y, x] - heat.min()) / spread, share, 1.0


ENTRY = Entry(
    "one_pixel_sensitivity",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"population": 24, "seed": 2},),
    base=SMALL,
)


class OneWeak(nn.Module):
    """Predict class 0 unless the pixel in row 1, column 2 is below -0.5."""

    def forward(self, images):
        logit = images[:, 0, 1, 2] + 0.5
        return torch.stack([logit, -logit], 1)


def _weak(count=1):
    images = torch.rand(count, 1, 3, 4)
    images[:, 0, 0, 0] = -2.0  # the range from which values come
    return images


def test_by_hand():
    heatmaps = torch.arange(12.0).view(1, 3, 4)  # the weak pixel is the seventh of twelve
    heat, share, success = one_pixel_sensitivity(OneWeak(), _weak(), heatmaps, target=0)
    assert success.tolist() == [1.0]
    assert heat.item() == pytest.approx(6 / 11)
    assert share.item() == pytest.approx(6 / 11)
    heat, share, _ = one_pixel_sensitivity(OneWeak(), _weak(), heatmaps**2 - 3, target=0)
    assert heat.item() == pytest.approx(36 / 121)
    assert share.item() == pytest.approx(6 / 11)


def test_defaults_are_the_definition():
    batch, net = Batch.draw(6, seed=1)[[0, 1, 4]], tiny_net()
    metric = OnePixelSensitivity()
    metric.update(**ENTRY.given(batch, net))
    close(metric.rows, replace(ENTRY, base={}).expected(batch, net))
    assert metric.successes() == 2
    close(metric.rank_share(), metric.rows[:, 1].nanmean())


def test_after_the_attack():
    batch, net = Batch.draw(6, seed=1)[[0, 1, 4]], tiny_net()
    settings = {"when": "after"}
    metric, count = ENTRY.metric(settings), EvaluationCount(net)
    metric.update(**ENTRY.given(batch, net), explainer=Squares())
    assert count.images / 3 == 20 * 9 + 1 == metric.evaluations(explaining=0)
    close(metric.rows, ENTRY.expected(batch, net, settings))
    assert metric.successes() == 2
    assert not metric.rows.equal(ENTRY.updated(batch, net).rows)
    with pytest.raises(ValueError, match="Expected `explainer` to be given"):
        metric.update(**ENTRY.given(batch, net))


def test_cost_is_673_and_shared_by_other_heatmaps():
    batch, net = Batch.draw(2), tiny_net()
    count, metric = EvaluationCount(net), OnePixelSensitivity()
    case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps)
    metric.update(case=case)
    assert count.images / 2 == metric.evaluations() == 32 * 21 + 1 == 673
    metric.update(case=case.with_heatmaps(batch.heatmaps.flip(-1), target=1 - batch.target.clamp(max=1)))
    assert count.images / 2 == 673
    after = OnePixelSensitivity("after", 6, 1)
    assert after.evaluations(explaining=5) == 6 * 2 + 1 + 5
    count.images = 0
    explainer = GradCAM(target_layer="0")
    after.update(model=net, images=batch.images, heatmaps=batch.heatmaps, target=batch.target, explainer=explainer)
    assert count.images / 2 == after.evaluations(explaining=1)


def test_attack_changes_one_pixel_within_each_channels_range():
    batch, net = Batch.draw(4), tiny_net()
    case = Case(net, batch.images, batch.target)
    found = case[OnePixelAttack(12, 4)]
    attacked = found.apply(batch.images)
    changed = (attacked != batch.images).any(1).flatten(1)
    assert changed.sum(1).tolist() == [1] * 4
    assert changed.float().argmax(1).tolist() == found.place.tolist()
    for bound, sign in ((batch.images.amax((2, 3)), 1), (batch.images.amin((2, 3)), -1)):
        assert (sign * found.value <= sign * bound).all()
    assert found.attacked.equal(case.logits.argmax(1))
    assert found.success.equal(case.classifier.logits(attacked).argmax(1) != found.attacked)
    assert (case.classifier.probabilities(case.classifier.logits(attacked)).gather(1, found.attacked[:, None])
            < case.classifier.probabilities(case.logits).gather(1, found.attacked[:, None])).all()  # fmt: skip


def test_does_not_depend_on_batch_or_chunk():
    batch, net = Batch.draw(5), tiny_net()
    attack = OnePixelAttack(12, 6)
    whole = Case(net, batch.images)[attack]
    for chunk_size in (1, 5, 12, 100):
        found = Case(Classifier(net, Readout(chunk_size=chunk_size)), batch.images[[3]])[attack]
        assert found.place == whole.place[3]
        assert found.value.equal(whole.value[[3]])
    other = Case(net, batch.images)[OnePixelAttack(12, 6, seed=1)]
    assert not other.value.equal(whole.value)


def test_a_flat_model_and_a_flat_image_cost_the_same_and_have_no_success():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.zeros_(net[1].weight)
    count, metric = EvaluationCount(net), OnePixelSensitivity(population=6, generations=4)
    images = torch.cat([_weak(), torch.ones(1, 1, 3, 4)])
    metric.update(model=net, images=images, heatmaps=torch.rand(2, 3, 4), target=net[1].bias.argmax().expand(2))
    assert count.images / 2 == 6 * 5 + 1
    assert metric.successes() == 0
    assert metric.undefined == 2
    assert metric.compute().isnan()
    assert metric.rank_share().isnan()


def test_a_heatmap_of_another_class_than_the_attacked_one_is_undefined():
    heatmaps = torch.rand(1, 3, 4)
    assert one_pixel_sensitivity(OneWeak(), _weak(), heatmaps, target=0)[2].tolist() == [1.0]
    assert one_pixel_sensitivity(OneWeak(), _weak(), heatmaps, target=1)[2].tolist() == [0.0]


def test_fake_cam_fools_the_heat_and_not_the_rank():
    images = _weak(3)
    metric = OnePixelSensitivity()
    metric.update(model=OneWeak(), images=images, explainer=FakeCAM(), target=0)
    assert metric.compute() == 1.0
    assert metric.rank_share().item() == pytest.approx(0.5, abs=0.05)
    assert metric.successes() == 3


def test_other_tasks():
    class Single(nn.Module):
        def forward(self, images):
            return images[:, 0, 1, 2, None] + 0.5

    for task, model, target in (("binary", Single(), 1), ("multilabel", OneWeak(), 0)):
        classifier = Classifier(model, Readout(task=task))
        assert one_pixel_sensitivity(classifier, _weak(), torch.rand(1, 3, 4), target)[2].tolist() == [1.0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"when": "during"}, r"Expected `when` to be one of 'before', 'after', but got 'during'"),
        ({"population": 5}, r"Expected `population` to be >= 6, but got 5"),
        ({"generations": 0}, r"Expected `generations` to be >= 1, but got 0"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        OnePixelSensitivity(**settings)
