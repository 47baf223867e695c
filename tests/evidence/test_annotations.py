from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.evidence import Case
from lightning_xai.evidence.annotations import boxes_of_masks, check_boxes, masks_of_boxes

HEAT = torch.rand(2, 4, 6)
NAN = [math.nan] * 4


def test_masks_of_boxes_by_hand():
    boxes = torch.tensor([[[1.0, 0.0, 3.0, 2.0], [4.0, 3.0, 6.0, 4.0]], [[0.0, 1.0, 1.0, 2.0], NAN]])
    masks = masks_of_boxes(boxes, (4, 6))
    rows = [["".join(".#"[int(pixel)] for pixel in row) for row in mask] for mask in masks]
    assert rows == [[".##...", ".##...", "......", "....##"], ["......", "#.....", "......", "......"]]


def test_pixel_centres_decide():
    masks = masks_of_boxes(torch.tensor([[[0.5, 0.6, 2.5, 1.6]]]), (2, 4))
    assert masks.int().tolist() == [[[0, 0, 0, 0], [1, 1, 0, 0]]]


def test_boxes_outside_the_image_are_cut():
    assert masks_of_boxes(torch.tensor([[[-5.0, -5.0, 99.0, 1.0]]]), (2, 3)).int().tolist() == [[[1, 1, 1], [0, 0, 0]]]


def test_boxes_of_masks_by_hand():
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:5] = True
    masks[1, 0, 0] = masks[1, 3, 5] = True
    boxes = boxes_of_masks(masks)
    assert boxes.dtype == torch.float32
    assert boxes[:2].tolist() == [[[2.0, 1.0, 5.0, 3.0]], [[0.0, 0.0, 6.0, 4.0]]]
    assert boxes[2].isnan().all()


def test_a_box_survives_both_ways():
    random = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 5, (50, 2), generator=random)
    extent = torch.randint(1, 5, (50, 2), generator=random)
    boxes = torch.cat([corner, corner + extent], 1).float()[:, None]
    assert torch.equal(boxes_of_masks(masks_of_boxes(boxes, (10, 11))), boxes)


def test_a_case_derives_each_from_the_other():
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:5] = True
    assert Case(heatmaps=HEAT, masks=masks).boxes[0].tolist() == [[2.0, 1.0, 5.0, 3.0]]
    assert torch.equal(Case(heatmaps=HEAT, boxes=Case(heatmaps=HEAT, masks=masks).boxes).masks, masks)


def test_given_masks_and_boxes_are_both_kept():
    case = Case(heatmaps=HEAT, masks=torch.ones(2, 4, 6), boxes=torch.tensor([[0, 0, 1, 1]] * 2))
    assert case.masks.all()
    assert case.boxes.tolist() == [[[0.0, 0.0, 1.0, 1.0]]] * 2


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        (torch.tensor([[0, 0, 1, 1], [0, 0, 2, 2]]), [[[0, 0, 1, 1]], [[0, 0, 2, 2]]]),
        (torch.tensor([[[0, 0, 1, 1]], [[0, 0, 2, 2]]]), [[[0, 0, 1, 1]], [[0, 0, 2, 2]]]),
        ([torch.tensor([[0, 0, 1, 1], [1, 1, 2, 2]]), torch.tensor([[0, 0, 2, 2]])],
         [[[0, 0, 1, 1], [1, 1, 2, 2]], [[0, 0, 2, 2], NAN]]),
        ((torch.tensor([0, 0, 1, 1]), torch.zeros(0, 4)), [[[0, 0, 1, 1]], [NAN]]),
        ([torch.zeros(0, 4), torch.zeros(0)], [[NAN], [NAN]]),
        (torch.zeros(2, 0, 4), [[NAN], [NAN]]),
    ],
)  # fmt: skip
def test_boxes_are_padded(boxes, expected):
    found = check_boxes(boxes, HEAT)
    torch.testing.assert_close(found, torch.tensor(expected).float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("boxes", "error", "text"),
    [
        (3, TypeError, r"Expected `boxes` to be a Tensor or a sequence of Tensors, but got int\."),
        ([[0, 0, 1, 1]], TypeError, r"Expected `boxes` to be a Tensor or a sequence of Tensors, but got list\."),
        ([], ValueError, r"Expected `boxes` to have shape \(2, M, 4\), but got \(0, \d, 4\)\."),
        (torch.ones(3, 4), ValueError, r"Expected `boxes` to have shape \(2, M, 4\), but got \(3, 1, 4\)\."),
        (torch.ones(2, 5), ValueError, r"Expected `boxes` to have shape \(2, M, 4\), but got \(2, 1, 5\)\."),
        ([torch.ones(4)], ValueError, r"Expected `boxes` to have shape \(2, M, 4\), but got \(1, 1, 4\)\."),
        ([torch.ones(3)] * 2, ValueError, r"Expected each of `boxes` to have shape \(M, 4\), but got \(3,\)\."),
        ([torch.ones(4, 1)] * 2, ValueError, r"Expected each of `boxes` to have shape \(M, 4\), but got \(4, 1\)\."),
        (torch.tensor([[0, 0, 1, 1], [3, 0, 3, 2]]), ValueError, r"x1 > x0 and y1 > y0, but got a box without area\."),
        (torch.tensor([[0.0, 5.0, 1.0, 1.0]] * 2), ValueError, r"but got a box without area\."),
        (torch.tensor([[0.0, 0.0, math.inf, 1.0]] * 2), ValueError, r"Expected `boxes` to be finite"),
        (torch.ones(2, 4, device="meta"), ValueError, r"Expected `boxes` on cpu like `images`, but got meta\."),
    ],
)
def test_boxes_are_checked(boxes, error, text):
    with pytest.raises(error, match=text):
        check_boxes(boxes, HEAT)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_masks_of_any_dtype(kind):
    masks = (HEAT > 0.5).to(kind)
    assert torch.equal(Case(heatmaps=HEAT, masks=masks).masks, HEAT > 0.5)


@pytest.mark.parametrize(
    ("masks", "error", "text"),
    [
        ([[1]], TypeError, r"Expected `masks` to be a Tensor of shape \(N, H, W\), but got list\."),
        (torch.ones(2, 4, 5), ValueError, r"Expected `masks` to have shape \(2, 4, 6\) to match `heatmaps`, but got"),
        (torch.ones(2, 1, 4, 6), ValueError, r"but got \(2, 1, 4, 6\)\."),
        (torch.full((2, 4, 6), math.nan), ValueError, r"Expected `masks` to be finite, but 2 of 2 contain NaN"),
        (torch.ones(2, 4, 6, device="meta"), ValueError, r"Expected `masks` on cpu like `images`, but got meta\."),
    ],
)
def test_masks_are_checked(masks, error, text):
    with pytest.raises(error, match=text):
        Case(heatmaps=HEAT, masks=masks)
