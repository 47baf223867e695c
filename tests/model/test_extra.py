"""What forward wants beside the image: bound to a classifier, picked with the images, never broadcast."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.model import Classifier
from lightning_xai.model.call import ForwardArguments
from lightning_xai.model.extra import checked_extra, from_rows, keys_of, row_of
from tests._nets import Fusion

IMAGES = torch.rand(5, 3, 8, 8)
TABLE = torch.randn(5, 2)


class Takes(nn.Module):
    """Return the sum of everything, so that nothing can be mixed up unseen."""

    def __init__(self, forward):
        super().__init__()
        self.inner = nn.Linear(1, 1)
        self.forward = forward


def summed(image, *others):
    return image.flatten(1)[:, :2] + sum(other.float().reshape(len(image), -1)[:, :1] for other in others)


@pytest.mark.parametrize(
    ("forward", "extra"),
    [
        (lambda image, table: summed(image, table), {"table": TABLE}),
        (lambda image, *, table: summed(image, table), {"table": TABLE}),
        (lambda table, image: summed(image, table), {"table": TABLE}),
        (lambda image, table, /: summed(image, table), {"table": TABLE}),
        (lambda image, a=None, table=None: summed(image, table), {"table": TABLE}),
        (lambda image, **rest: summed(image, rest["table"]), {"table": TABLE}),
        (lambda **rest: summed(rest["image"], rest["table"]), None),
        (lambda *args: summed(*args), {"table": TABLE}),
        (lambda image, b, a: summed(image, b, 100 * a), {"a": TABLE, "b": TABLE + 1}),
        (lambda image, meta: summed(image, meta["age"], meta["sex"]), {"meta": {"age": TABLE, "sex": TABLE > 0}}),
        (lambda image, views: summed(image, *[torch.stack([v[0] for v in views])]), {"views": list(TABLE)}),
    ],
)
def test_each_image_comes_with_its_own(forward, extra):
    if extra is None:
        with pytest.raises(TypeError, match="also wants"):
            Classifier(Takes(forward)).with_extra({"table": TABLE}).logits(IMAGES)
        return
    classifier = Classifier(Takes(forward), chunk_size=2).with_extra(extra)
    logits = classifier.logits(IMAGES)
    singles = [classifier.rows(slice(i, i + 1)).logits(IMAGES[i : i + 1]) for i in range(5)]
    assert torch.equal(logits, torch.cat(singles))
    index = torch.tensor([4, 4, 0])
    again = classifier.rows(index).rows(torch.tensor([2, 0])).logits(IMAGES[[0, 4]])
    assert torch.equal(again, logits[[0, 4]])
    assert classifier.evaluations == 12  # views count together


def test_the_rows_of_a_chunk_are_those_of_its_owners():
    classifier = Classifier(Fusion(), chunk_size=3).with_extra({"table": TABLE})
    owners = torch.tensor([0, 0, 1, 4, 4, 4, 2])
    found = classifier.evaluate(7, lambda chunk: IMAGES[owners[chunk]], owners=lambda chunk: owners[chunk])
    assert torch.allclose(found, classifier.logits(IMAGES)[owners], atol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda classifier: classifier.logits(IMAGES[:4]),
        lambda classifier: classifier.logits(IMAGES[:1]),  # one image is not broadcast
        lambda classifier: classifier.forward(IMAGES[:3]),
        lambda classifier: classifier.evaluate(10, lambda chunk: IMAGES.repeat(2, 1, 1, 1)[chunk]),
        lambda classifier: classifier.rows(slice(0, 1)).logits(IMAGES),
    ],
)
def test_a_number_of_rows_that_does_not_match_raises(call):
    with pytest.raises(ValueError, match=r"one row of `extra` per image, but got \d rows for \d+ images"):
        call(Classifier(Fusion(), chunk_size=2).with_extra({"table": TABLE}))


@pytest.mark.parametrize(
    ("extra", "error", "message"),
    [
        ({"table": TABLE[:3], "other": TABLE}, ValueError, r"`extra\['other'\]` to hold one row for each of 3 images"),
        ({"table": torch.tensor(1.0)}, TypeError, "hold a value per image"),
        ({"table": 3}, TypeError, r"hold a value per image.*got int"),
        ({"table": {"a": TABLE, "b": TABLE[:2]}}, TypeError, "hold a value per image"),
        ([TABLE], TypeError, "map names of forward's arguments"),
        ({0: TABLE}, TypeError, "map names of forward's arguments"),
    ],
)
def test_what_is_no_extra_raises(extra, error, message):
    with pytest.raises(error, match=message):
        Classifier(Fusion()).with_extra(extra)


def test_unknown_and_missing_arguments_are_named():
    with pytest.raises(ValueError, match=r"arguments of Fusion.forward\(image, table\) .* but got 'age'"):
        Classifier(Fusion()).with_extra({"table": TABLE, "age": TABLE}).logits(IMAGES)
    with pytest.raises(
        TypeError, match=r"Fusion.forward\(image, table\) also wants `table`.*extra=\{'table': \.\.\.\}"
    ):
        Classifier(Fusion()).logits(IMAGES)


def test_a_type_error_of_the_model_itself_is_not_blamed_on_the_arguments():
    def forward(image, table):
        return len(3)

    with pytest.raises(TypeError, match="has no len"):
        Classifier(Takes(forward)).with_extra({"table": TABLE}).logits(IMAGES)


def test_floating_extra_takes_the_dtype_of_the_parameters_and_whole_numbers_keep_theirs():
    seen = {}

    def forward(image, table, index):
        seen.update(table=table.dtype, index=index.dtype, image=image.dtype)
        return image.flatten(1)[:, :2]

    model = Takes(forward).half()
    Classifier(model).with_extra({"table": TABLE.double(), "index": torch.arange(5)}).logits(IMAGES)
    assert seen == {"table": torch.half, "index": torch.int64, "image": torch.half}


def test_the_model_may_change_what_it_gets():
    def forward(image, table, rows):
        table.add_(1.0), rows[0].add_(1.0), image.mul_(0.0)
        return table + torch.stack(rows)

    extra = {"table": TABLE.clone(), "rows": list(TABLE.clone())}
    classifier = Classifier(Takes(forward)).with_extra(extra)
    assert torch.equal(classifier.logits(IMAGES), classifier.logits(IMAGES))
    assert torch.equal(extra["table"], TABLE)
    assert torch.equal(torch.stack(extra["rows"]), TABLE)


def test_arguments_below_a_module_that_hands_everything_on_and_of_compiled_and_scripted_ones():
    class HandsOn(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Fusion()

        def forward(self, *args, **kwargs):
            return self.net(*args, **kwargs)

    assert ForwardArguments(HandsOn()).names == ["image", "table"]
    assert ForwardArguments(torch.compile(Fusion())).needed == ["table"]
    assert ForwardArguments(torch.jit.script(Fusion())).names == ["image", "table"]
    assert ForwardArguments(nn.Conv2d(1, 1, 1)).names == ["input"]
    scripted = Classifier(torch.jit.script(Fusion())).with_extra({"table": TABLE})
    assert scripted.logits(IMAGES).shape == (5, 4)


@pytest.mark.parametrize(
    "value",
    [
        TABLE,
        (TABLE * 1000).long(),
        torch.arange(5) + 2**24,  # equal in float32
        torch.arange(5) + 2**40,
        {"a": TABLE, "b": torch.zeros(5)},
        [TABLE[i, : i % 2 + 1] for i in range(5)],
        ["a", "b", "c", "d", "e"],
        [["a", 1], ["a", 2], ["b", 1], ["b"], []],
        [{"a": i} for i in range(5)],
    ],
)
def test_keys_tell_rows_apart_and_know_equal_ones(value):
    keys = keys_of(value)
    assert len(set(keys.tolist())) == 5
    rows = [row_of(value, i) for i in (3, 1, 3)]
    assert keys_of(from_rows(rows)).tolist() == [keys[3], keys[1], keys[3]]


def test_arrays_are_read_and_lists_of_numbers_are_tensors():
    extra = checked_extra({"a": np.arange(3.0), "b": [1, 2, 3], "c": ["x", "y", "z"]})
    assert extra["a"].tolist() == [0.0, 1.0, 2.0]
    assert extra["b"].tolist() == [1, 2, 3]
    assert extra["c"] == ["x", "y", "z"]
