from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import lightning_xai.visualization
from lightning_xai.metrics import Estimate
from lightning_xai.probing import Sample
from lightning_xai.probing.explained import Answers, ExplainedEpoch, explained
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.probe import Item, Probe
from lightning_xai.reports import Grid
from lightning_xai.reports.report import Run

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
        # it is not clear by itself which class is shown
        "label dog\npredicted cat\nconfidence 0.88\nexplained dog\nprobability 0.12",
        "label cat\npredicted dog\nconfidence 0.88\nexplained dog",  # with the confidence above
    ]
    assert drawn["correct"] == [True, False, False]
    assert drawn["title"] == "epoch 1"


def test_without_labels_and_names(drawn):
    draw([-1, -1, -1], [0, 0, 0])
    assert drawn["captions"] == [
        "predicted 0\nconfidence 0.95",
        "predicted 0\nconfidence 0.88",
        "predicted 1\nconfidence 0.88\nexplained 0\nprobability 0.12",
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
    masks, boxes = torch.eye(8).bool().expand(3, 8, 8), torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 3)
    draw([0, 0, 0], [0, 0, 0], sample=Sample(IMAGES, None, masks, boxes))
    assert drawn["masks"] is not None
    assert drawn["boxes"] is None
    draw([0, 0, 0], [0, 0, 0], sample=Sample(IMAGES, None, None, boxes), mean=[0.5], std=[0.2], cell_size=64)
    assert drawn["boxes"].shape == (3, 1, 4)
    assert (drawn["mean"], drawn["std"], drawn["cell_size"]) == ([0.5], [0.2], 64)


MANY = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).bool()
MANY_LOGITS = torch.tensor([[2.0, -1.0, 3.0, -2.0], [-1.0, -2.0, -3.0, -2.0], [1.0, 0.0, 0.0, -1.0]])
FINDINGS = ["nodule", "mass", "effusion", "pneumothorax"]


def draw_many(labels=MANY, logits=MANY_LOGITS, classes=(1, -1, 3), target=(1, 0, 3), task="multilabel", names=FINDINGS):
    found = explained(Answers(logits, torch.tensor(target), {}, {}, {}, {}), [1, 2, 3], list(classes), task, {})
    sample = Sample(torch.rand(len(logits), 1, 8, 8), labels)
    Grid(class_names=names).draw(sample, found, {"map": torch.rand(len(logits), 8, 8)}, task, title="")


def test_an_image_without_findings_keeps_the_marks_of_the_others(drawn):
    draw_many()
    assert drawn["captions"] == [
        "labels mass, nodule,\neffusion\npredicted effusion\nconfidence 0.95\nexplained mass\nprobability 0.27",
        "no label\nlikeliest nodule\nprobability 0.27",  # below one half nothing is predicted
        "label pneumothorax\npredicted nodule\nconfidence 0.73\nexplained pneumothorax\nprobability 0.27",
    ]
    assert drawn["correct"] == [False, True, False]


def test_an_image_without_findings_is_wrong_where_something_is_found(drawn):
    draw_many(logits=MANY_LOGITS + torch.tensor([[2.0], [1.5], [3.0]]))
    assert drawn["correct"] == [True, False, True]


def test_one_image_without_a_label_has_no_mark(drawn):
    draw([0, -1, 0], [0, 0, 1])
    assert drawn["correct"] == [True, None, False]
    assert drawn["captions"][1] == "predicted 0\nconfidence 0.88"


def test_many_label_data_without_known_labels_have_no_marks(drawn):
    draw_many(labels=None, classes=(-1, -1, -1))
    assert drawn["correct"] is None


def test_labels_that_do_not_fit_are_counted(drawn):
    draw_many(labels=torch.ones(3, 4), classes=(3, 0, 1), names=["cardiomegaly", "mass", "effusion", "pneumothorax"])
    assert [re.split("\n(?:predicted|likeliest)", caption)[0] for caption in drawn["captions"]] == [
        "labels pneumothorax,\ncardiomegaly, mass, +1",
        "labels cardiomegaly,\nmass, effusion, +1",
        "labels mass,\ncardiomegaly, +2",
    ]


def test_identities_come_first(drawn):
    sample = Sample(IMAGES)
    object.__setattr__(sample, "ids", ["P1", "P2", "P3"])
    draw([0, 1, 0], [0, 1, 1], sample=sample)
    assert [caption.splitlines()[0] for caption in drawn["captions"]] == ["id P1", "id P2", "id P3"]


def test_channels_are_stretched_by_all_images_of_the_probe(drawn):
    images = torch.arange(3 * 5 * 64.0).reshape(3, 5, 8, 8)
    others = [*images, torch.full((5, 8, 8), 1e4)]
    found = explained(Answers(LOGITS, torch.tensor([0, 0, 0]), {}, {}, {}, {}), [1, 2, 3], [0, 0, 0], "multiclass", {})

    def draw_with(**settings):
        Grid(**settings).draw(
            Sample(images), found, {"map": images[:, 0]}, "multiclass", title="", others=settings.pop("others", others)
        )

    draw_with(channels=(4, 0, 2), mean=[300.0], std=[50.0])
    pixels = torch.cat([one[[4, 0, 2]].flatten(1) for one in others], 1).sort(1).values
    low, high = pixels[:, round(0.02 * 255)], pixels[:, round(0.98 * 255)]
    expected = (images[:, [4, 0, 2]] - low[:, None, None]) / (high - low)[:, None, None]
    torch.testing.assert_close(drawn["images"], expected.clamp(0, 1))
    assert drawn["mean"] is None
    assert drawn["notes"] == ("channels 4, 0, 2 of 5, stretched from 2 % to 98 %",)
    draw_with(channels=3)
    assert drawn["images"].shape == (3, 1, 8, 8)
    draw_with()
    assert drawn["notes"] == ("channels 0, 1, 2 of 5, stretched from 2 % to 98 %",)


def test_photographs_are_left_alone(drawn):
    draw([0, 1, 0], [0, 1, 1], mean=[0.5], std=[0.2])
    assert torch.equal(drawn["images"], IMAGES)
    assert drawn["notes"] == ()


@pytest.mark.parametrize(
    ("channels", "error", "text"),
    [
        ((0, 1), ValueError, r"Expected `channels` to be one channel or three \(red, green, blue\).* got \(0, 1\)\."),
        (-1, ValueError, "from 0, but got -1"),
        ("rgb", TypeError, "`channels` to be a whole number or three of them, but got 'rgb'"),
        (True, TypeError, "but got True"),
        ((0, 1, 2.5), TypeError, r"but got \(0, 1, 2\.5\)"),
    ],
)
def test_what_is_no_channel_is_refused(channels, error, text):
    with pytest.raises(error, match=text):
        Grid(channels=channels)


def test_channels_that_images_lack_are_refused_before_training():
    Grid(channels=[2, 1, 0]).check(Sample(torch.rand(1, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"`channels` to be numbers below 3, as many as the images have, but got 3\."):
        Grid(channels=3).check(Sample(torch.rand(1, 3, 4, 4)))


def published(tmp_path, grid=None, *, classes=None, checkpoint=None, explainers="grad_cam", estimates=None, **more):
    """The files of an epoch that a grid publishes, and what the Trainer's logger got."""
    dataset = TensorDataset(IMAGES)
    dataset.classes = classes
    trainer = SimpleNamespace(
        val_dataloaders=DataLoader(dataset),
        loggers=[],
        is_global_zero=True,
        global_step=7,
        current_epoch=2,
        **more,
    )
    found = explained(Answers(LOGITS, torch.tensor([0, 0, 0]), {}, {}, {}, {}), [1, 2, 3], [0, 0, 0], "multiclass", {})
    epoch = ExplainedEpoch(2, 7, "validate", estimates or {}, {0: found}, checkpoint=checkpoint)
    probe = Probe([(1, 0), (2, 0), (3, 0)], [Item(image, None, None, None) for image in IMAGES])
    run = Run(
        trainer,
        tmp_path,
        Keys(Plan(explainers, None, "label", 0), "xai", 3),
        [epoch],
        {0: probe},
        {0: {"grad_cam": torch.rand(3, 8, 8)}},
    )
    if more.get("private"):
        object.__setattr__(run, "private", True)
    (grid or Grid(cell_size=32)).publish(epoch, run)
    return sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))


def test_names_are_those_of_the_validation(drawn, tmp_path):
    published(tmp_path, classes=["cat", "dog"])
    assert drawn["captions"][0].startswith("label cat\npredicted cat")
    published(tmp_path, classes=["cat", "dog", "owl"])
    assert drawn["captions"][0].startswith("label 0\npredicted 0")
    published(tmp_path, Grid(class_names=["own", "names"]), classes=["cat", "dog"])
    assert drawn["captions"][0].startswith("label own")


def test_a_checkpoint_is_named_in_the_title(drawn, tmp_path):
    published(tmp_path, checkpoint="runs/checkpoints/best.ckpt")
    assert drawn["title"] == "best.ckpt · epoch 2 · step 7"


def test_the_caption_tells_gain_and_skill_with_their_errors(drawn, tmp_path):
    def caption():
        with Image.open(tmp_path / "xai/heatmaps/epoch=0002-step=00000007.png") as picture:
            return picture.text["Description"]

    gain, undefined = Estimate(0.25, 0.0625), Estimate(math.nan)
    published(tmp_path, estimates={"xai/faithfulness_gain": gain, "xai/faithfulness": Estimate(0.5)})
    assert caption() == "epoch 2 · step 7 · gain 0.250 ± 0.062"
    published(tmp_path, estimates={"xai/faithfulness_gain": gain, "xai/faithfulness_skill": undefined})
    assert caption() == "epoch 2 · step 7 · gain 0.250 ± 0.062"
    estimates = {"xai/grad_cam/faithfulness_gain": gain, "xai/grad_cam/faithfulness_skill": Estimate(1.5, 0.5)}
    published(tmp_path, explainers=["grad_cam", "layer_cam"], estimates=estimates)
    assert caption() == "epoch 2 · step 7 · grad_cam: gain 0.250 ± 0.062, skill 1.500 ± 0.500"


def test_no_picture_of_private_images(tmp_path):
    assert published(tmp_path, private=True) == []
    assert published(tmp_path) == ["xai/heatmaps/epoch=0002-step=00000007.png"]


@pytest.mark.parametrize("one_size", [True, False])
def test_regions_and_groups_are_shown(drawn, one_size):
    marker = torch.rand(3, 8, 8) > 0.5
    parts = {"regions": {"marker": marker}, "groups": ["north", "south", "south"], "ids": ["a", "b", "c"]}
    sample = Sample(IMAGES, **parts)
    singles = [
        Sample(IMAGES[[i]], regions={"marker": marker[[i]]}, groups=parts["groups"][i : i + 1], ids=[parts["ids"][i]])
        for i in range(3)
    ]
    draw([0, 1, 0], [0, 1, 0], sample=sample if one_size else singles)
    assert torch.equal(torch.stack(list(drawn["regions"]["marker"])), marker)
    assert [caption.splitlines()[:2] for caption in drawn["captions"]] == [
        ["id a", "group north"],
        ["id b", "group south"],
        ["id c", "group south"],
    ]
