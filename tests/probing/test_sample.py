from __future__ import annotations

from collections import UserDict, namedtuple

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from lightning_xai.probing import Sample, sample_from_batch

N, H, W = 3, 6, 8
IMAGES = torch.rand(N, 2, H, W)
LABELS = torch.tensor([2, 0, 1])
MASKS = torch.rand(N, H, W) > 0.5
CORNERS = torch.tensor([[1.0, 2.0, 4.0, 5.0], [0.0, 0.0, 2.0, 3.0], [3.0, 1.0, 7.0, 4.0]])
SIZES = torch.cat([CORNERS[:, :2], CORNERS[:, 2:] - CORNERS[:, :2]], 1)  # x, y, width, height
CENTRES = torch.cat([(CORNERS[:, :2] + CORNERS[:, 2:]) / 2, SIZES[:, 2:]], 1)
Batch = namedtuple("Batch", "image label")


def boxes_of(values, kind):
    return tv_tensors.BoundingBoxes(values, format=kind, canvas_size=(H, W))


def check(sample, *, labels=LABELS, masks=None, boxes=None):
    assert torch.equal(sample.images, IMAGES)
    for found, expected in ((sample.labels, labels), (sample.masks, masks), (sample.boxes, boxes)):
        assert (found is None) == (expected is None)
        assert found is None or (found.dtype == expected.dtype and torch.equal(found, expected))
    assert sample.annotated == (masks is not None or boxes is not None)
    assert all(part is None or type(part) in {Tensor, tuple} for part in vars(sample).values())


@pytest.mark.parametrize(
    "batch",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        Batch(IMAGES, LABELS),
        (IMAGES, LABELS.int()),
        (IMAGES, LABELS.float()),
        (IMAGES, LABELS[:, None]),
        (IMAGES, LABELS[:, None].float()),
        (IMAGES, LABELS, ["a.png", "b.png", "c.png"]),
        (IMAGES, LABELS, torch.rand(N, 2, H, W)),  # a second view is no mask
        (IMAGES, torch.rand(N, 2, H, W), LABELS),
        (IMAGES, {"label": LABELS}),
        (tv_tensors.Image(IMAGES), LABELS),
        {"image": IMAGES, "label": LABELS},
        {"images": IMAGES, "labels": LABELS.tolist()},
        {"pixel_values": IMAGES, "labels": LABELS},
        {"x": IMAGES, "y": LABELS, "index": torch.arange(N)},
        {"Image": IMAGES, "Target": LABELS},
        {"img": IMAGES, "class": LABELS},
        {"input": IMAGES, "target": {"label": LABELS}},
        UserDict(pixel_values=IMAGES, labels=LABELS),
    ],
)
def test_images_and_labels(batch):
    check(sample_from_batch(batch))


@pytest.mark.parametrize("batch", [IMAGES, (IMAGES,), [IMAGES], {"image": IMAGES}, {"image": IMAGES, "label": None}])
def test_images_alone(batch):
    check(sample_from_batch(batch), labels=None)


@pytest.mark.parametrize(
    "batch",
    [
        (IMAGES, LABELS, MASKS),
        (IMAGES, MASKS, LABELS),
        (IMAGES, LABELS, MASKS[:, None]),
        (IMAGES, LABELS, MASKS.float()),
        (IMAGES, LABELS, 255 * MASKS.to(torch.uint8)[:, None]),
        (IMAGES, LABELS, torch.stack([MASKS, torch.zeros_like(MASKS)], 1)),  # one plane per object
        (IMAGES, tv_tensors.Mask(MASKS), LABELS),
        (tv_tensors.Mask(MASKS), IMAGES, LABELS),
        (IMAGES, {"labels": LABELS, "masks": MASKS}),
        (IMAGES, LABELS, {"masks": tv_tensors.Mask(MASKS)}),
        {"image": IMAGES, "label": LABELS, "mask": MASKS},
        {"image": IMAGES, "target": {"label": LABELS, "segmentation": MASKS[:, None]}},
    ],
)
def test_masks(batch):
    check(sample_from_batch(batch), masks=MASKS)


@pytest.mark.parametrize(
    "batch",
    [
        (IMAGES, LABELS, CORNERS),
        (IMAGES, LABELS, CORNERS[:, None]),
        (IMAGES, LABELS, [box[None] for box in CORNERS]),
        (IMAGES, LABELS, list(CORNERS)),
        (IMAGES, LABELS, boxes_of(CORNERS, "XYXY")),
        (IMAGES, LABELS, boxes_of(SIZES, "XYWH")),
        (IMAGES, boxes_of(CENTRES, "CXCYWH"), LABELS),
        (IMAGES, {"labels": LABELS, "boxes": [boxes_of(box[None], "XYWH") for box in SIZES]}),
        {"image": IMAGES, "label": LABELS, "bbox": CORNERS.int()},
        {"image": IMAGES, "label": LABELS, "boxes": boxes_of(SIZES, "XYWH")},
        {"image": IMAGES, "target": {"labels": LABELS, "boxes": CORNERS}},
    ],
)
def test_boxes(batch):
    check(sample_from_batch(batch), boxes=CORNERS[:, None])


def test_boxes_of_uneven_numbers_are_padded():
    sample = sample_from_batch({"image": IMAGES, "boxes": [CORNERS[:2], CORNERS[:0], CORNERS[2:]]})
    assert sample.boxes.shape == (N, 2, 4)
    assert sample.boxes[:, :, 0].isnan().tolist() == [[False, False], [True, True], [False, True]]


def test_a_column_per_class_is_multilabel():
    hot = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    for labels in (hot, hot.bool(), hot.float()):
        check(sample_from_batch((IMAGES, labels)), labels=hot.float())


def test_first_image_is_a_copy():
    sample = sample_from_batch((IMAGES.clone(), LABELS, MASKS))
    first = sample.first()
    sample.images.zero_()
    assert torch.equal(first.images, IMAGES[:1])
    assert torch.equal(first.masks, MASKS[:1])
    assert first.labels.tolist() == [2]
    assert first.boxes is None
    assert first.images.untyped_storage().nbytes() == IMAGES[:1].numel() * 4


@pytest.mark.parametrize("form", ["mapping", "second of a pair", "arrays", "padded"])
def test_named_regions(form):
    boxes = torch.zeros(3, 2, 4)  # filled up by zeros
    boxes[:, 0] = torch.tensor([1.0, 2.0, 4.0, 5.0])
    expected = torch.zeros(3, 6, 8, dtype=torch.bool)
    expected[:, 2:5, 1:4] = True
    given = {"lesion": MASKS.float(), "marker": boxes[:, 0]}
    if form == "arrays":
        given = {"lesion": MASKS.numpy(), "marker": [boxes[i, :1] for i in range(3)]}
    if form == "padded":
        given["marker"] = boxes
    batch = (IMAGES, {"label": LABELS, "regions": given}) if form.startswith("second") else None
    sample = sample_from_batch(batch or {"image": IMAGES.clone(), "label": LABELS, "Regions": given})
    assert sample.labels.tolist() == LABELS.tolist()
    assert list(sample.regions) == ["lesion", "marker"]
    assert torch.equal(sample.regions["lesion"], MASKS > 0)
    assert torch.equal(sample.regions["marker"], expected)
    first = sample.first()
    assert torch.equal(first.regions["marker"], expected[:1])
    assert first.regions["marker"].untyped_storage().nbytes() == 48
    assert sample_from_batch((IMAGES, LABELS)).regions is None


def test_a_gradient_is_let_go():
    assert not Sample(IMAGES.clone().requires_grad_()).images.requires_grad


@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        (LABELS, TypeError, r"Expected a batch \(images, labels\).* but got \(3,\)\. Pass `sample_from_batch="),
        ((LABELS, LABELS), TypeError, r"but got a tuple of \['\(3,\)', '\(3,\)'\]\."),
        (([IMAGES, IMAGES], LABELS), TypeError, r"but got a list of|but got a tuple of \['list', '\(3,\)'\]"),
        ({"photo": IMAGES, "label": LABELS}, TypeError, r"but got a mapping with keys \['label', 'photo'\]\."),
        ("images", TypeError, "but got str"),
        ({"image": [IMAGES[0], IMAGES[1, :, 1:]]}, TypeError, r"`images of the batch` to be a Tensor .* but got list"),
        ({"image": IMAGES[0]}, ValueError, r"Expected images \(N, C, H, W\), .* the batch holds \(2, 6, 8\)"),
        ((IMAGES.to(torch.int32), LABELS), TypeError, "floating point, as the model sees them, but got torch.int32"),
        ((IMAGES, LABELS[:2]), ValueError, r"`labels` of the batch to have shape \(3,\) or \(N, K\), but got \(2,\)"),
        (
            (IMAGES, torch.tensor([[0.0, 1], [1, torch.nan], [1, 1]])),
            ValueError,
            r"but got nan: a label that is not known\? It may be 0, because .* Pass `sample_from_batch=",
        ),
        ((IMAGES, torch.tensor([[0.0, 1], [1, -1], [1, 1]])), ValueError, "but got -1: a label that is not known"),
        ((IMAGES, torch.tensor([[0.0, 1], [1, 7], [9, 1]])), ValueError, "but got 7: columns of several tasks"),
        ({"image": IMAGES, "label": ["cat", "dog", "cat"]}, TypeError, "`labels` of the batch .* got list of str"),
        (
            {"image": IMAGES, "mask": list(MASKS)},
            TypeError,
            "`masks` of the batch .* got list of Tensor. Pass `sample_",
        ),
        (
            (IMAGES, {"mask": MASKS[:, 1:]}),
            ValueError,
            r"`masks` .* shape \(3, 6, 8\) to match its images.* \(3, 5, 8\)",
        ),
        (
            {"image": IMAGES, "boxes": CORNERS[:2]},
            ValueError,
            r"`boxes` to have shape \(3, M, 4\), but got \(2, 1, 4\)",
        ),
        ({"image": IMAGES, "regions": {"a": MASKS[:2]}}, ValueError, r"`regions\['a'\]` to have shape \(3, 6, 8\)"),
        (
            {"image": IMAGES, "regions": {"a": ["left"]}},
            TypeError,
            r"`regions\['a'\]` .* got list of str. Pass `sample_",
        ),
        (
            {"image": IMAGES, "regions": MASKS},
            TypeError,
            "Expected `regions` to map names to masks or boxes, but got Ten",
        ),
        ({"image": IMAGES, "boxes": SIZES.flip(1)}, ValueError, "x1 > x0 and y1 > y0, but got a box without area"),
    ],
)
def test_errors_say_what_came(batch, error, text):
    with pytest.raises(error, match=text):
        sample_from_batch(batch)
