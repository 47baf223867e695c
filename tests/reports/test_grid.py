from __future__ import annotations

import pytest
import torch

import lightning_xai.visualization
from lightning_xai.probing import Sample
from lightning_xai.probing.explained import Answers, explained
from lightning_xai.reports import Grid

IMAGES = torch.rand(3, 1, 8, 8)
LOGITS = torch.tensor([[3.0, 0.0], [1.0, -1.0], [-1.0, 1.0]])


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawing."""
    seen = {}

    def remember(images, heatmaps, **settings):
        seen.update(settings, images=images, heatmaps=heatmaps)
        return torch.zeros(4, 4, 3, dtype=torch.uint8)

    monkeypatch.setattr(lightning_xai.visualization, "heatmap_grid", remember, raising=False)
    return seen


def draw(classes, target, *, task="multiclass", sample=None, **settings):
    answers = Answers(LOGITS, torch.tensor(target), {}, {}, {}, {})
    found = explained(answers, [1, 2, 3], classes, task, {})
    heatmaps = {"grad_cam": torch.rand(3, 8, 8)}
    return Grid(**settings).draw(sample or Sample(IMAGES), found, heatmaps, task, title="epoch 1")


def test_captions(drawn):
    draw([0, 1, 0], [0, 1, 1], class_names=["cat", "dog"])
    assert drawn["captions"] == [
        "label cat\npredicted cat\nconfidence 0.95",
        "label dog\npredicted cat\nconfidence 0.88\nexplained dog",  # it is not clear by itself which one is shown
        "label cat\npredicted dog\nconfidence 0.88\nexplained dog",
    ]
    assert drawn["correct"] == [True, False, False]
    assert drawn["title"] == "epoch 1"


def test_without_labels_and_names(drawn):
    draw([-1, -1, -1], [0, 0, 0])
    assert drawn["captions"] == [
        "predicted 0\nconfidence 0.95",
        "predicted 0\nconfidence 0.88",
        "predicted 1\nconfidence 0.88\nexplained 0",
    ]
    assert drawn["correct"] is None


def test_a_class_without_a_name_keeps_its_number(drawn):
    draw([0, 1, 0], [0, 1, 0], class_names=["cat"])
    assert drawn["captions"][1].startswith("label 1\npredicted cat")


def test_two_classes_by_one_logit(drawn):
    draw([0, 0, 1], [0, 0, 1], task="binary")
    assert drawn["captions"][1] == "label 0\npredicted 0\nconfidence 0.73"
    assert drawn["correct"] == [True, True, True]


def test_of_many_labels_the_asked_one_may_be_the_less_probable(drawn, monkeypatch):
    monkeypatch.setitem(globals(), "LOGITS", torch.tensor([[3.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]))
    draw([1, 1, 1], [1, 1, 1], task="multilabel")
    assert drawn["correct"] == [True, False, True]


def test_masks_come_before_boxes(drawn):
    masks, boxes = torch.ones(3, 8, 8, dtype=torch.bool), torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 3)
    draw([0, 0, 0], [0, 0, 0], sample=Sample(IMAGES, None, masks, boxes))
    assert drawn["masks"] is not None
    assert drawn["boxes"] is None
    draw([0, 0, 0], [0, 0, 0], sample=Sample(IMAGES, None, None, boxes), mean=[0.5], std=[0.2], cell_size=64)
    assert drawn["boxes"].shape == (3, 1, 4)
    assert (drawn["mean"], drawn["std"], drawn["cell_size"]) == ([0.5], [0.2], 64)
