from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.evidence import Case, OcclusionReference, RandomControl
from lightning_xai.explainers import GradCAM, RandomHeatmap
from lightning_xai.functional import faithfulness_skill, insertion_deletion
from lightning_xai.metrics import FaithfulnessSkill, InsertionDeletion, MetricSuite
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, View, tiny_net
from tests.metrics.faithfulness import _skill


def _reference(view, num_steps="radau", ties="random", seed=0):
    return _skill.rows(view, lambda one: _naive.insertion_minus_deletion(one, num_steps, ties, seed))


ENTRY = Entry(
    "faithfulness_skill",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"num_steps": 7, "ties": "first"}, {"num_steps": 10, "ties": "last"}, {"num_steps": 3, "seed": 9}),
    value=_skill.value,
    left_out=_skill.left_out,
    per_image=lambda rows: rows[:, 0] - rows[:, 1],
    undefined_by_model=True,
    shared=6,
)


def estimated(rows):
    return FaithfulnessSkill().estimate(torch.tensor(rows))


def test_a_ratio_of_sums_not_a_mean_of_ratios():
    # ratios of the images: −41, 4 and .5; of the sums: (−.41 + .4 + .5) / (.01 + .1 + 1)
    found = estimated([[-0.31, 0.1, 0.11], [0.6, 0.2, 0.3], [0.5, 0.0, 1.0]])
    assert math.isnan(found.value)  # the mean of the denominators is .37 with an error of .32
    gaps = [[-0.2, 0.2, 0.6], [0.9, 0.1, 0.4], [0.5, 0.0, 0.35]]
    assert estimated(gaps).value == pytest.approx((-0.4 + 0.8 + 0.5) / (0.4 + 0.3 + 0.35))
    assert FaithfulnessSkill().per_image(torch.tensor(gaps)).tolist() == pytest.approx([-0.4, 0.8, 0.5])


@pytest.mark.parametrize(
    ("gaps", "defined"),
    [
        ([0.021, 0.021, 0.021], True),
        ([0.019, 0.019, 0.019], False),  # below .02, however sure
        ([0.3, 0.1, 0.2], True),  # mean .2, error .058
        ([0.5, -0.1, 0.2], False),  # mean .2, error .17
        ([-0.3, -0.1, -0.2], False),  # one-sided: the reference is worse than chance, and surely so
        ([0.0, 0.0, 0.0], False),
        ([0.5], False),  # one image has no error
    ],
)
def test_the_floor(gaps, defined):
    found = estimated([[0.3, 0.1, 0.1 + gap] for gap in gaps])
    assert math.isfinite(found.value) == defined
    assert math.isfinite(found.error) == defined
    assert found.undefined == (0 if defined else len(gaps))  # all of them are without a value


def test_an_image_without_a_value_is_left_out():
    rows = [[0.5, 0.1, 0.6], [math.nan, 0.1, 0.6], [0.3, 0.1, 0.4]]
    found = estimated(rows)
    assert found == estimated([rows[0], rows[2]]).__class__(found.value, found.error, 1)
    assert found.value == pytest.approx(0.75)


def test_a_paired_difference_asks_for_the_floor_on_both_sides():
    metric, rows = FaithfulnessSkill(), torch.tensor([[0.5, 0.1, 0.6], [0.3, 0.1, 0.4], [0.4, 0.1, 0.6]])
    lower = rows - torch.tensor([0.1, 0.0, 0.0])
    found = metric.difference(rows, lower)
    assert found.value == pytest.approx(0.3 / 1.3)  # .1 less in each numerator
    assert 0.0 < found.error < metric.estimate(rows).error
    nothing = torch.tensor([[0.5, 0.1, 0.1]] * 3)
    assert math.isnan(metric.difference(rows, nothing).value)


def test_control_and_reference_themselves_score_zero_and_one():
    batch, net = Batch.draw(6), tiny_net()
    case = Case(net, batch.images, batch.target)
    for heatmaps, value in ((RandomControl(), 0.0), (OcclusionReference(FaithfulnessSkill().occlusion), 1.0)):
        metric = FaithfulnessSkill()
        metric.update(case=case.with_heatmaps(case[heatmaps]))
        assert metric.compute().item() == value


def test_the_control_is_the_monitor_s_and_has_the_seed_of_the_case():
    batch, net = Batch.draw(4), tiny_net()
    for seed in (0, 5):
        case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps, control_seed=seed)
        random = RandomHeatmap(seed=seed)(net, batch.images, batch.target)
        expected = insertion_deletion(net, batch.images, random, batch.target)
        for one in (case, case.with_heatmaps(batch.heatmaps * 2.0)):
            torch.testing.assert_close(FaithfulnessSkill().score(one)[:, 1], expected, rtol=0, atol=0)


def test_evaluations_beside_faithfulness_its_gain_and_a_second_explainer():
    batch, net = Batch.draw(3), tiny_net()
    counter = EvaluationCount(net)
    suite, gains = MetricSuite([InsertionDeletion(5), FaithfulnessSkill(5)]), MetricSuite([InsertionDeletion(5)])
    case = Case(net, batch.images, batch.target)

    def cost(score):
        counter.images = 0
        score()
        return counter.images / 3

    assert cost(lambda: gains.score(case.seen_with(RandomControl()))) == 1 + 2 * 5
    assert cost(lambda: suite.score(case.with_heatmaps(batch.heatmaps))) == 49 + 2 * 5 + 2 * 5
    assert cost(lambda: gains.score(case.seen_with(RandomControl()))) == 0
    assert cost(lambda: suite.score(case.with_heatmaps(batch.heatmaps.flip(2)))) == 2 * 5
    # another class of the same images: the images with a cell hidden are those of before, the curves are not
    other = (batch.target + 1) % 3
    assert cost(lambda: suite.score(case.with_heatmaps(batch.heatmaps, target=other))) == 6 * 5


def linear_net(task, size):
    """Return a net whose every pixel counts by another weight, so that no two cells are alike."""
    classes, pixels = 1 if task == "binary" else 3, 2 * size[0] * size[1]
    net = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    net[1].weight.data = torch.randn(classes, pixels, generator=torch.Generator().manual_seed(1)) * 3 / pixels**0.5
    net[1].bias.data = torch.zeros(classes)
    return net


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("size", [(9, 11), (3, 4), (6, 9), (14, 7)])  # fewer than 7 pixels too
def test_every_task_and_size_is_the_definition(task, size):
    random = torch.Generator().manual_seed(3)
    images, target = torch.rand(5, 2, *size, generator=random), torch.tensor([0, 1, 1, 0, 1])
    heatmaps = torch.rand(5, *size, generator=random)
    net = linear_net(task, size)
    metric = FaithfulnessSkill(num_steps=4)
    metric.update(model=Classifier(net, Readout(task=task)), images=images, heatmaps=heatmaps, target=target)
    expected = [_naive_rows(net, task, images[[i]], heatmaps[[i]], target[[i]]) for i in range(5)]
    expected = torch.tensor(expected, dtype=torch.float64)
    assert expected.std(0).min() > 0.01
    torch.testing.assert_close(metric.rows.double(), expected, rtol=1e-5, atol=1e-5)


class _TaskView(View):
    """A view of a model of another task: the class's own sigmoid."""

    task = "multiclass"

    def f(self, image):
        if self.task == "multiclass":
            return super().f(image)
        logits = self.logits(image)
        z = logits[self.target] if self.task == "multilabel" else (2 * self.target - 1) * logits[0]
        return float(1.0 / (1.0 + math.exp(-z)))


def _naive_rows(net, task, images, heatmaps, target):
    batch = Batch(images, heatmaps, target, heatmaps > 0, torch.zeros(1, 1, 4), heatmaps)

    def view(heat):
        one = _TaskView(batch.with_heatmaps(heat), net)
        object.__setattr__(one, "task", task)
        return one

    def score(heat):
        return _naive.insertion_minus_deletion(view(heat), 4, "random", 0)

    whole = view(heatmaps)
    others = (_skill.random_control(whole), _skill.occlusion_reference(whole))
    return tuple(score(heat) for heat in (heatmaps, *(torch.from_numpy(other)[None] for other in others)))


def test_a_dead_model_has_no_skill():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    nn.init.zeros_(net[1].weight)
    metric = FaithfulnessSkill()
    images = torch.rand(4, 3, 4, 4)
    metric.update(model=net, images=images, heatmaps=torch.rand(4, 4, 4), target=1)
    assert metric.compute().isnan()
    assert metric.estimate(metric.rows).undefined == metric.undefined == 4
    assert FaithfulnessSkill().undefined == 0
    assert faithfulness_skill(net, images, torch.rand(4, 4, 4), 1).tolist() == [0.0] * 4


def test_a_model_that_says_nan_of_a_hidden_cell_is_named():
    class Picky(nn.Module):
        def forward(self, images):
            whole = (images[:, 0, 3, 3] == 1.0)[:, None]
            return torch.where(whole, images.flatten(1)[:, :2], torch.nan)

    images = torch.ones(2, 1, 8, 8)
    with pytest.raises(ValueError, match="Expected `log-odds of the images with a cell hidden` to be finite, but 2 of"):
        OcclusionReference().collect(Case(Picky(), images, 1))


def test_infinite_odds_are_the_hottest():
    class Sure(nn.Module):
        """Has no doubt unless the first pixel is touched."""

        def forward(self, images):
            touched = images[:, 0, 0, 0] != 1.0
            return torch.stack([torch.zeros(len(images)), torch.where(touched, -torch.inf, 3.0)], 1)

    found = OcclusionReference().collect(Case(Sure(), torch.ones(1, 1, 7, 7), 1))
    assert found.isfinite().all()
    assert found.flatten(1).argmax(1).item() == 0


CLASSES, SIDE = 3, 20


def textures(count, seed):
    """Return noise with a patch of stripes or a chequerboard somewhere, and which of these it is."""
    random = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 1, SIDE, SIDE, generator=random)
    labels = torch.randint(CLASSES, (count,), generator=random)
    row, column = torch.arange(7)[:, None] % 2, torch.arange(7)[None, :] % 2
    patterns = torch.stack([row.expand(7, 7), column.expand(7, 7), (row + column) % 2]).float() * 2 - 1
    for image, label in zip(images, labels.tolist(), strict=True):
        y, x = torch.randint(SIDE - 6, (2,), generator=random).tolist()
        image[0, y : y + 7, x : x + 7] += patterns[label]
    return images, labels


class Scaled(nn.Module):
    """A trained net whose logits are multiplied, so that it is surer or less sure of the same predictions."""

    def __init__(self, net, scale):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, images):
        return self.scale * self.net(images)


@pytest.fixture(scope="module")
def trained():
    """Return a trained net, images of a class that it sees, and Grad-CAM's heatmaps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU()]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES))
        images, labels = textures(256, seed=1)
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels, label_smoothing=0.3).backward()
            optimizer.step()
    images, labels = textures(24, seed=2)
    assert torch.equal(net.eval()(images).argmax(1), labels)
    return net, images, labels, GradCAM("3")(net, images, labels)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_confidence_alone_moves_faithfulness_but_hardly_its_skill(trained, noise):
    net, images, labels, heatmaps = trained
    heatmaps = heatmaps / heatmaps.amax((1, 2), keepdim=True) + noise * RandomHeatmap(5, seed=3)(net, images, labels)
    values = []
    for scale in (0.25, 0.5, 1.0, 2.0, 4.0):
        suite = MetricSuite(["insertion_deletion", "faithfulness_skill", "insertion_skill"])
        suite.update(model=Scaled(net, scale), images=images, heatmaps=heatmaps, target=labels)
        values.append([value.item() for value in suite.compute().values()])
    faithfulness, *skills = zip(*values, strict=True)
    assert max(faithfulness) > 5 * min(faithfulness)
    for skill, most in zip(skills, (1.06, 1.15), strict=True):  # insertion's is bounded by a curve that saturates
        assert 0.8 < max(skill) < most * min(skill)
