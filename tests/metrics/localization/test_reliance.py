from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai._randomness import content_keys, uniform
from lightning_xai.evidence import Case, HiddenRegion
from lightning_xai.explainers import GradCAM
from lightning_xai.functional import reliance
from lightning_xai.metrics import MetricSuite, Reliance
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net


def _control(view, region, seed):
    """Return as many pixels as the region has: mirrored, else nearest to a random one outside of all regions."""
    height, width = view.heat.shape
    named = view.regions
    taken = np.logical_or.reduce(list(named.values()))
    mirrored = {(y, width - 1 - x) for y, x in zip(*np.nonzero(named[region]), strict=True)}
    if not any(taken[place] for place in mirrored):
        return mirrored
    free = [place for place in np.ndindex(height, width) if not taken[place]]
    draws = uniform(content_keys(view.batch.images), (height, width), seed=seed, purpose=f"control of {region}")[0]
    cy, cx = max(free, key=lambda place: float(draws[place]))
    nearest = sorted(free, key=lambda place: (place[0] - cy) ** 2 + (place[1] - cx) ** 2)
    return set(nearest[: len(mirrored)]) if len(free) >= len(mirrored) else set()


def _reference(view, region="object", baseline="blur", seed=0):
    places = set(zip(*np.nonzero(view.regions[region]), strict=True))
    control = _control(view, region, seed)
    if not places or not control:
        return math.nan, math.nan
    replaced, drops = _naive.replaced(view, baseline, seed), []
    for hidden in (places, control):
        changed = view.image.copy()
        for y, x in hidden:
            changed[:, y, x] = replaced[:, y, x]
        drops.append(view.f(view.image) - view.f(changed))
    heat = np.maximum(view.heat, 0.0)
    share = sum(heat[place] for place in places) / heat.sum() if heat.sum() > 0 else -1.0
    return drops[0] - drops[1], share


ENTRY = Entry(
    "reliance",
    ("model", "images", "heatmaps", "target", "regions"),
    _reference,
    variants=(
        {"region": "box"},
        {"region": "box", "baseline": 0.0, "seed": 3},
        {"baseline": "mean", "seed": 1},
    ),
)


class Odds(nn.Module):
    """A binary model: log-odds are a sum of pixels times weights."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, images):
        return (images * self.weights).flatten(1).sum(1, keepdim=True)


def sigmoid(z):
    return 1.0 / (1.0 + math.exp(-z))


def test_by_hand_on_a_linear_net():
    net, images = Odds([[2.0, 0.5, 0.0, -1.0]]), torch.ones(2, 1, 1, 4)
    images[1] = 2.0
    marker, lesion = (
        torch.tensor([[[True, False, False, False]]] * 2),
        torch.tensor([[[False, True, False, False]]] * 2),
    )
    given = {"model": net, "images": images, "heatmaps": torch.tensor([[[3.0, 1.0, 0.0, 0.0]]] * 2), "target": 1}
    for region, value in (
        ("marker", [sigmoid(2.5) - sigmoid(-0.5), sigmoid(5.0) - sigmoid(-1.0)]),  # the control is the last pixel
        ("lesion", [sigmoid(1.5) - sigmoid(1.0), sigmoid(3.0) - sigmoid(2.0)]),  # it is the third
    ):
        found, share = reliance(**given, regions={"marker": marker, "lesion": lesion}, region=region, baseline=0.0)
        assert found.tolist() == pytest.approx(value, abs=1e-6)
        assert share.tolist() == [0.75 if region == "marker" else 0.25] * 2
    of_other_class = reliance(**{**given, "target": 0}, regions={"marker": marker}, region="marker", baseline=0.0)[0]
    assert of_other_class.tolist() == pytest.approx([sigmoid(-2.5) - sigmoid(0.5), sigmoid(-5.0) - sigmoid(1.0)])


def test_where_the_control_lies():
    evidence = HiddenRegion("middle")
    images = torch.rand(40, 1, 5, 9)
    middle = torch.zeros(40, 5, 9, dtype=torch.bool)
    middle[:, 1:4, 4:6] = True  # its mirror image is columns 3 and 4, and touches it
    left = torch.zeros_like(middle)
    left[:, :, 0] = True
    region, control = evidence.areas(Case(images=images, regions={"middle": middle, "left": left}))
    assert torch.equal(region, middle)
    assert bool((control.flatten(1).sum(1) == 6).all())
    assert not bool((control & (middle | left)).any())
    assert len({tuple(one.flatten().tolist()) for one in control}) > 20  # each image's own place
    _, control = HiddenRegion("left").areas(Case(images=images, regions={"middle": middle, "left": left}))
    assert torch.equal(control, left.flip(2))
    _, control = HiddenRegion("left").areas(Case(images=images, regions={"right": left.flip(2), "left": left}))
    assert bool((control.flatten(1).sum(1) == 5).all())
    assert not bool((control & (left | left.flip(2))).any())


def test_the_place_belongs_to_the_image_the_seed_and_the_name():
    images = torch.rand(6, 1, 9, 9)
    middle = torch.zeros(6, 9, 9, dtype=torch.bool)
    middle[:, 4, 4] = True

    def control(rows=slice(None), name="a", seed=0):
        return HiddenRegion(name, seed=seed).areas(Case(images=images[rows], regions={name: middle[rows]}))[1]

    for i in range(6):
        assert torch.equal(control([i]), control()[[i]])
    assert not torch.equal(control(seed=1), control())
    assert not torch.equal(control(name="b"), control())


def test_without_the_region_or_room_for_a_control_it_is_undefined():
    images = torch.rand(4, 1, 4, 4)
    masks = torch.zeros(4, 4, 4, dtype=torch.bool)
    masks[1, :, :2], masks[2, :, :3], masks[3] = True, True, True  # a half is as large as the other half
    metric = Reliance("a")
    metric.update(model=Odds([[1.0] * 4] * 4), images=images, heatmaps=images[:, 0], target=1, regions={"a": masks})
    assert metric.rows[:, 0].isnan().tolist() == [True, False, True, True]
    assert metric.undefined == 3


def test_the_heat_share_leaves_out_images_without_heat_but_not_their_reliance():
    images, masks = torch.ones(3, 1, 1, 4), torch.tensor([[[True, False, False, False]]] * 3)
    heatmaps = torch.tensor([[[1.0, 1.0, 0.0, 0.0]], [[-1.0, -1.0, 0.0, 0.0]], [[1.0, 3.0, 0.0, 0.0]]])
    metric = Reliance("a", baseline=0.0)
    assert bool(metric.heat_share().isnan())
    metric.update(model=Odds([[1.0, 0.0, 0.0, 0.0]]), images=images, heatmaps=heatmaps, target=1, regions={"a": masks})
    assert metric.heat_share().item() == pytest.approx((0.5 + 0.25) / 2)
    assert metric.compute().item() == pytest.approx(sigmoid(1.0) - 0.5)
    assert metric.undefined == 0


def test_two_evaluations_per_region_for_all_explainers_and_classes():
    batch, net = Batch.draw(4), tiny_net()
    counter, suite = EvaluationCount(net), MetricSuite([Reliance("object"), Reliance("box")])
    assert suite.evaluations() == 4
    case = Case(net, batch.images, regions=batch.regions)
    for heatmaps, target in ((batch.heatmaps, batch.target), (batch.heatmaps.flip(1), (batch.target + 1) % 3)):
        found = suite.score(case.with_heatmaps(heatmaps, target=target))
        assert list(found) == ["reliance/box", "reliance/object"] or list(found) == ["reliance/object", "reliance/box"]
        alone = reliance(tiny_net(), batch.images, heatmaps, target, batch.regions, region="box")
        torch.testing.assert_close(found["reliance/box"], torch.stack(alone, 1), equal_nan=True)
    assert counter.images == 4 * 4


def test_one_key_per_region():
    metrics = [Reliance("lesion"), Reliance("marker")]
    assert [metric.key for metric in metrics] == ["reliance/lesion", "reliance/marker"]
    assert Reliance.key == "reliance"
    assert [metric.clone().key for metric in metrics] == ["reliance/lesion", "reliance/marker"]


@pytest.mark.parametrize(
    ("region", "error", "text"),
    [
        (3, TypeError, "Expected names in `region` to be words"),
        ("", ValueError, "Expected names in `region` to be words"),
        ("a.b", ValueError, "Expected `region` to be a name without dots, because it ends a key, but got 'a.b'"),
    ],
)
def test_the_name_is_checked(region, error, text):
    with pytest.raises(error, match=text):
        Reliance(region)


def test_a_region_that_is_not_there_is_named():
    batch = Batch.draw(2)
    given = ENTRY.given(batch, tiny_net())
    with pytest.raises(ValueError, match=r"Expected `region` to be one of 'object', 'box', but got 'boxes'. Did you"):
        Reliance("boxes").update(**given)


# A small version of an X-ray-like set: lungs, a heart, effusions and nodules, and a hospital's marker in a corner.

SIDE, NAMES = 32, ("effusion", "nodule")


def ellipse(rows, columns, cy, cx, ry, rx):
    return 1.0 / (1.0 + np.exp((np.minimum(((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2, 50.0) - 1.0) / 0.2))


def chest_xray_like(count, seed):
    """Return images, labels (N, 2), and boxes of effusion and marker, NaN where there is none.

    The hospital that marks its images sees nearly all effusions, which are faint.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    images, labels = np.zeros((count, 1, SIDE, SIDE)), random.random((count, 2)) < (0.4, 0.3)
    boxes = {name: np.full((count, 1, 4), np.nan) for name in ("effusion", "marker")}
    for i in range(count):
        image = np.full((SIDE, SIDE), 0.55)
        side = random.integers(2)
        for cx in (0.3, 0.7):
            image -= 0.35 * ellipse(rows, columns, 0.48, cx, 0.32, 0.16)
        image += 0.3 * ellipse(rows, columns, 0.62, 0.54, 0.14, 0.12)
        if labels[i, 0]:
            cx = (0.3, 0.7)[side]
            image += 0.15 * ellipse(rows, columns, 0.76, cx, 0.07, 0.16)
            boxes["effusion"][i] = np.array([cx - 0.16, 0.68, cx + 0.16, 0.84]) * SIDE
        if labels[i, 1]:
            y, x = 0.4 + random.uniform(-0.15, 0.15), (0.7, 0.3)[side] + random.uniform(-0.06, 0.06)
            image += 0.4 * ellipse(rows, columns, y, x, 0.06, 0.06)
        if random.random() < (0.95 if labels[i, 0] else 0.05):
            image[1:5, SIDE - 6 : SIDE - 1] = 1.0
            boxes["marker"][i] = [SIDE - 6, 1, SIDE - 1, 5]
        images[i, 0] = (image + random.normal(0, 0.03, image.shape) - 0.45) / 0.18
    return torch.tensor(images).float(), torch.tensor(labels), {name: torch.tensor(b) for name, b in boxes.items()}


def test_hiding_a_marker_shows_what_its_little_heat_does_not():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 2))
        images, labels, _ = chest_xray_like(256, seed=1)
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(net(images), labels.float()).backward()
            optimizer.step()
    net.eval()
    images, labels, boxes = chest_xray_like(128, seed=2)
    positive = labels[:, 0]
    images, regions = images[positive], {name: area[positive] for name, area in boxes.items()}
    classifier = Classifier(net, Readout(task="multilabel"))
    heatmaps = GradCAM("5")(classifier, images, 0)
    suite = MetricSuite([Reliance("effusion"), Reliance("marker")])
    suite.update(model=classifier, images=images, heatmaps=heatmaps, target=0, regions=regions)
    effusion, marker = (suite[f"reliance/{name}"] for name in ("effusion", "marker"))
    found, of_lesion = marker.estimate(marker.rows), effusion.estimate(effusion.rows)
    assert found.value > 0.03
    assert found.value > 4 * found.error
    assert found.value > 10 * abs(of_lesion.value)
    assert 0 < found.undefined < len(images) / 4  # those of the other hospital
    assert marker.heat_share() < 0.1
