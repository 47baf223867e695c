from __future__ import annotations

import gc
import math
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from lightning_xai import GradCAM
from lightning_xai.evidence import Case, Evidence, Logits, MaskingCurve
from lightning_xai.metrics import DeletionAUC, InsertionAUC, MetricSuite
from lightning_xai.model.classifier import Classifier
from tests.metrics._harness import Batch, EvaluationCount, Squares, tiny_net

IMAGES, HEAT = torch.rand(2, 3, 4, 6), torch.rand(2, 4, 6)


@dataclass(frozen=True)
class Noted(Evidence):
    """Evidence that writes down each collection, and fails if told to."""

    collected: ClassVar[list] = []
    setting: int = 0
    error: type | None = None

    def collect(self, case):
        self.collected.append(self)
        if self.error:
            raise self.error("no evidence")
        return torch.full((len(case),), float(self.setting))

    def evaluations(self, explaining=1):
        return 0


@dataclass(frozen=True)
class NotedOfImages(Noted):
    inputs: ClassVar[frozenset] = frozenset({"images"})


@pytest.fixture(autouse=True)
def _collected():
    Noted.collected.clear()


def test_evidence_is_collected_once_per_setting():
    case = Case(heatmaps=HEAT)
    for _ in range(3):
        assert case[Noted()].tolist() == [0.0, 0.0]
        assert case[Noted(1)].tolist() == [1.0, 1.0]
    assert Noted.collected == [Noted(), Noted(1)]


def test_evidence_is_freed_after_its_last_announced_reader():
    case = Case(heatmaps=HEAT)
    for _ in range(3):
        case.announce(Noted())
    kept = weakref.ref(case[Noted()])
    assert case[Noted()] is kept()
    case[Noted()]
    gc.collect()
    assert kept() is None
    assert len(Noted.collected) == 1
    case[Noted()]  # nobody announced this one
    assert len(Noted.collected) == 2


def test_a_failure_is_remembered_and_raised_again():
    batch, net = Batch.draw(2), tiny_net()
    count = EvaluationCount(net)

    @dataclass(frozen=True)
    class Failing(Evidence):
        def collect(self, case):
            case.classifier.logits(case.images)
            raise RuntimeError("broken")

        def evaluations(self, explaining=1):
            return 1

    case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps)
    for _ in range(3):
        case.announce(Failing())
    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken"):
            case[Failing()]
    assert count.images == 2


def test_an_interrupt_is_not_remembered():
    case = Case(heatmaps=HEAT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            case[Noted(error=KeyboardInterrupt)]
    assert len(Noted.collected) == 2


def test_other_heatmaps_share_what_is_known_about_the_images():
    case = Case(heatmaps=HEAT, masks=HEAT > 0.5)
    other = case.with_heatmaps(1.0 - HEAT)
    for one in (case, other, other.with_heatmaps(HEAT)):
        one[Noted()]
        one[NotedOfImages()]
    assert Noted.collected.count(NotedOfImages()) == 1
    assert Noted.collected.count(Noted()) == 3
    assert torch.equal(other.masks, case.masks)


def test_what_reads_the_target_is_not_shared_by_other_targets():
    @dataclass(frozen=True)
    class Target(Noted):
        inputs: ClassVar[frozenset] = frozenset({"images", "target"})

        def collect(self, case):
            return case.target.clone()

    case = Case(images=IMAGES, target=1)
    assert [one[Target()].tolist() for one in (case, case.with_heatmaps(target=torch.tensor([0, 2])))] == [
        [1, 1],
        [0, 2],
    ]


def test_without_masks_and_boxes_their_code_is_not_executed():
    files = set()
    sys.setprofile(lambda frame, *_: files.add(Path(frame.f_code.co_filename).name))
    try:
        metric = InsertionAUC(4)
        metric.update(model=torch.nn.Flatten(), images=torch.rand(1, 1, 2, 2), heatmaps=torch.rand(1, 2, 2), target=1)
    finally:
        sys.setprofile(None)
    assert "case.py" in files
    assert "annotations.py" not in files


def test_other_heatmaps_keep_model_keys_and_target():
    batch = Batch.draw(3)
    case = Case(tiny_net(), batch.images, batch.target, heatmaps=batch.heatmaps)
    keys = case.keys
    other = case.with_heatmaps(explainer=Squares())
    assert other.classifier is case.classifier
    assert other.keys is keys
    assert torch.equal(other.target, batch.target)
    assert torch.equal(other.heatmaps, Squares()(case.classifier, batch.images, batch.target))


def test_another_target_of_the_same_images():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    images = Case(net, batch.images)
    predicted = images.logits.argmax(1)
    case = images.with_heatmaps(batch.heatmaps, target=predicted)
    curve = case[MaskingCurve(num_steps=4)]
    alone = Case(tiny_net(), batch.images, predicted, heatmaps=batch.heatmaps)[MaskingCurve(num_steps=4)]
    torch.testing.assert_close(curve, alone)
    assert count.images == 3 * 5


def test_unchanged_images_are_evaluated_once():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps)
    for _ in range(2):
        case.logits  # noqa: B018
    case[Logits()]
    case.with_heatmaps(batch.heatmaps).logits  # noqa: B018
    assert count.images == 3
    case[MaskingCurve(num_steps=4)]
    assert count.images == 3 + 3 * 4


def test_heatmaps_are_made_once_by_the_explainer():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    case = Case(net, batch.images, batch.target, explainer=GradCAM(target_layer="0"))
    assert torch.equal(case.heatmaps, case.heatmaps)
    assert count.images == 3


def test_the_chunk_suits_the_images_unless_the_classifier_says_otherwise():
    assert Case(tiny_net(), torch.rand(5, 3, 9, 11)).classifier.chunk_size == 32
    assert Case(tiny_net(), torch.rand(5, 3, 200, 220)).classifier.chunk_size == 8
    classifier = Classifier(tiny_net())
    assert Case(classifier, torch.rand(5, 3, 9, 11)).classifier is classifier


def test_one_class_for_all():
    assert Case(images=IMAGES, target=2).target.tolist() == [2, 2]
    assert Case(images=IMAGES, target=torch.tensor([1, 0], dtype=torch.uint8)).target.dtype == torch.int64


@pytest.mark.parametrize(
    "field", ["images", "target", "heatmaps", "masks", "boxes", "explainer", "previous_heatmaps", "keys", "logits"]
)
def test_a_field_that_was_not_given_names_itself(field):
    name = {"keys": "images", "logits": "model"}.get(field, field)
    with pytest.raises(ValueError, match=rf"Expected `{name}` to be given, because a metric reads it, but got None\."):
        getattr(Case(), field)


def test_a_missing_model_names_itself():
    with pytest.raises(ValueError, match="Expected `model` to be given"):
        Case(images=IMAGES, target=0).classifier  # noqa: B018
    with pytest.raises(ValueError, match="Expected `images` to be given"):
        len(Case())
    with pytest.raises(ValueError, match="Expected `images` to be given"):
        Case(target=1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"images": [1]}, TypeError, r"Expected `images` to be a Tensor of shape \(N, C, H, W\), but got list\."),
        ({"images": IMAGES[0]}, ValueError, r"Expected `images` to have shape \(N, C, H, W\) without empty axes, but"),
        ({"images": IMAGES[:0]}, ValueError, r"without empty axes, but got \(0, 3, 4, 6\)\."),
        ({"images": IMAGES.byte()}, TypeError, r"Expected `images` to be floating point, as the model sees them, but"),
        (
            {"heatmaps": HEAT[0]},
            ValueError,
            r"Expected `heatmaps` to have shape \(2, 4, 6\) to match `images`, but got",
        ),
        (
            {"heatmaps": HEAT[:, :2]},
            ValueError,
            r"`heatmaps` to have shape \(2, 4, 6\) to match `images`, but got \(2, 2",
        ),
        (
            {"heatmaps": HEAT.numpy()},
            TypeError,
            r"Expected `heatmaps` to be a Tensor of shape \(N, H, W\), but got nda",
        ),
        ({"heatmaps": HEAT / 0}, ValueError, r"Expected `heatmaps` to be finite, but 2 of 2 contain NaN or infinity"),
        ({"heatmaps": HEAT.to("meta")}, ValueError, r"Expected `heatmaps` on cpu like `images`, but got meta\."),
        ({"target": 1.0}, TypeError, r"Expected `target` to hold class indices .*, but got float\."),
        ({"target": True}, TypeError, r"Expected `target` to hold class indices .*, but got bool\."),
        ({"target": torch.rand(2)}, TypeError, r"Expected `target` to hold class indices .*, but got torch\.float32\."),
        (
            {"target": torch.ones(3).long()},
            ValueError,
            r"Expected `target` to have shape \(2,\), one class per image, but",
        ),
        (
            {"target": torch.tensor([0, -1])},
            ValueError,
            r"Expected `target` to hold class indices from 0, but got -1\.",
        ),
        ({"target": -1}, ValueError, r"Expected `target` to hold class indices from 0, but got -1\."),
        (
            {"target": torch.ones(2, device="meta").long()},
            ValueError,
            r"Expected `target` on cpu like `images`, but got",
        ),
        ({"masks": HEAT[:1] > 0}, ValueError, r"Expected `masks` to have shape \(2, 4, 6\) to match `images`, but got"),
        ({"boxes": torch.ones(3, 4)}, ValueError, r"Expected `boxes` to have shape \(2, M, 4\), but got \(3, 1, 4\)\."),
        (
            {"previous_heatmaps": HEAT[:1]},
            ValueError,
            r"Expected `previous_heatmaps` to have shape \(2, h, w\), but got",
        ),
        ({"model": 3}, TypeError, r"Expected `model` to be a torch\.nn\.Module or a Classifier, but got int\."),
    ],
)
def test_arguments_are_checked_at_once(arguments, error, text):
    with pytest.raises(error, match=text):
        Case(**{"images": IMAGES, **arguments})


def test_only_the_images_that_are_not_finite_are_listed():
    heatmaps = torch.zeros(20, 2, 2)
    heatmaps[4:] = math.nan
    with pytest.raises(
        ValueError, match=r"16 of 20 contain NaN or infinity \(index 4, 5, 6, 7, 8, 9, 10, 11, \.\.\.\)"
    ):
        Case(heatmaps=heatmaps)


@pytest.mark.parametrize("evidence", [Logits(), MaskingCurve(num_steps=2)])
def test_a_class_that_the_model_lacks(evidence):
    batch = Batch.draw(2)
    case = Case(tiny_net(), batch.images, torch.tensor([0, 3]), heatmaps=batch.heatmaps)
    with pytest.raises(
        ValueError, match=r"Expected `target` to be a class in \[0, 2\], the model's 3 classes, but got 3"
    ):
        case[evidence]


def test_images_on_another_device_than_the_model():
    batch = Batch.draw(2)
    case = Case(tiny_net().to("meta"), batch.images, 0, heatmaps=batch.heatmaps)
    with pytest.raises(ValueError, match=r"Expected `model` on cpu like `images`, but got meta\."):
        case.logits  # noqa: B018


def test_heatmaps_that_need_gradients_are_detached():
    assert not Case(heatmaps=HEAT.clone().requires_grad_()).heatmaps.requires_grad


@dataclass(frozen=True)
class Halves(Evidence):
    """Heatmaps that are 1 in one half of the image."""

    inputs: ClassVar = frozenset({"images"})

    def collect(self, case):
        heatmaps = torch.zeros(len(case), *case.images.shape[2:])
        heatmaps[:, : heatmaps.shape[1] // 2] = 1.0
        return heatmaps

    def evaluations(self, explaining=1):
        return 0


def test_other_heatmaps_of_the_same_class_are_seen_beside_one_and_the_same_case():
    batch, net = Batch.draw(3), tiny_net()
    case = Case(net, batch.images, batch.target, value_range=(-3.0, 3.0), control_seed=4)
    halves = case.seen_with(Halves())
    assert torch.equal(halves.heatmaps, Halves().collect(case))
    assert (halves.value_range, halves.control_seed) == ((-3.0, 3.0), 4)
    assert torch.equal(halves.target, case.target)
    assert case.with_heatmaps(batch.heatmaps).seen_with(Halves()) is halves
    other = case.with_heatmaps(target=(batch.target + 1) % 3)
    assert other.seen_with(Halves()) is not halves
    assert torch.equal(other.seen_with(Halves()).target, other.target)
    assert other.keys is not None


def test_what_is_known_of_it_is_kept_however_often_it_is_read():
    batch, net = Batch.draw(3), tiny_net()
    counter = EvaluationCount(net)
    case, suite = Case(net, batch.images, batch.target), MetricSuite([DeletionAUC(4)])
    first = suite.score(case.seen_with(Halves()))["deletion_auc"]
    again = suite.score(case.with_heatmaps(batch.heatmaps).seen_with(Halves()))["deletion_auc"]
    assert torch.equal(first, again)
    assert counter.images == 3 * 5


def test_images_go_with_their_case_without_waiting_for_the_garbage_collector():
    batch, net = Batch.draw(3), tiny_net()
    case = Case(net, batch.images.clone(), batch.target)
    case.with_heatmaps(batch.heatmaps).seen_with(Halves())
    held = weakref.ref(case.images)
    gc.disable()
    try:
        del case
        assert held() is None
    finally:
        gc.enable()


def test_the_seed_of_the_control_is_checked():
    with pytest.raises(TypeError, match="`control_seed`"):
        Case(images=torch.rand(1, 1, 2, 2), control_seed=0.5)
