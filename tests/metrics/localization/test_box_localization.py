from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import box_localization
from lightning_xai.metrics import BoxLocalization
from tests.metrics._harness import Batch, Entry, tiny_net


def _components(hot):
    """Return the 8-connected sets of hot pixels, in reading order of their first pixel."""
    left, found = {place for place in np.ndindex(hot.shape) if hot[place]}, []
    for first in sorted(left):
        if first not in left:
            continue
        left.discard(first)
        part, queue = [], [first]
        while queue:
            y, x = queue.pop()
            part.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            queue.extend(near)
        found.append(part)
    return found


def _overlap(first, second):
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    total = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (total - width * height)


def _reference(view, threshold=0.15, top_k=None):
    if not view.boxes:
        return math.nan, math.nan
    if view.heat.max() <= 0:
        return 0.0, 0.0
    largest = max(_components(view.heat >= threshold * view.heat.max()), key=len)
    rows, columns = [y for y, _ in largest], [x for _, x in largest]
    found = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
    slack, correct = 10 * min(view.heat.shape) / 224, False
    for box in view.boxes:
        w, h = box[2] - box[0], box[3] - box[1]
        correct |= _overlap(found, box) >= min(0.5, w * h / ((w + slack) * (h + slack)))
    if top_k is not None:
        correct &= view.target in np.argsort(-view.logits(view.image))[:top_k]
    return float(correct), max(_overlap(found, box) for box in view.boxes)


ENTRY = Entry(
    "box_localization",
    ("model", "images", "heatmaps", "target", "boxes"),
    _reference,
    variants=({"threshold": 0.5}, {"threshold": 1}, {"top_k": 1}, {"threshold": 0.3, "top_k": 5}),
    reads_all_with={"top_k": 1},
)


def _heatmap(*rows):
    return torch.tensor([[[float(c) for c in row] for row in rows]])


BLOB = _heatmap("00000", "09900", "09900", "00000", "00000")


@pytest.mark.parametrize(
    ("box", "iou", "correct"),
    [
        ([1, 1, 3, 3], 1.0, 1.0),
        ([1, 1, 3, 4], 2 / 3, 1.0),
        ([0, 0, 5, 5], 4 / 25, 0.0),
        ([3, 3, 5, 5], 0.0, 0.0),
    ],
)
def test_by_hand(box, iou, correct):
    found = box_localization(BLOB, torch.tensor([box]))
    assert [value.item() for value in found] == pytest.approx([correct, iou])


def test_slack_for_small_boxes_is_scaled_with_the_image():
    # a box of 4 x 4 in 224 pixels needs 16 / 14² = 0.0816 only; of 4 x 4 in 22.4 pixels 16 / 5² = 0.64, so 0.5
    heatmap = torch.zeros(1, 224, 224)
    heatmap[0, 10:20, 10:20] = 1.0
    correct, iou = box_localization(heatmap, torch.tensor([[10, 10, 14, 14]]))
    assert (correct.item(), iou.item()) == (1.0, pytest.approx(0.16))
    assert box_localization(heatmap, torch.tensor([[10, 10, 12, 13]]))[0].item() == 1.0  # 0.06 >= 0.0385
    assert box_localization(heatmap, torch.tensor([[10, 10, 70, 70]]))[0].item() == 0.0  # 0.028 < 0.5
    small = torch.zeros(1, 22, 22)
    small[0, 10:20, 10:20] = 1.0
    assert box_localization(small, torch.tensor([[10, 10, 14, 14]]))[0].item() == 0.0


@pytest.mark.parametrize("side", [100, 224])
def test_the_needed_overlap_is_never_above_a_half(side):
    heatmap = torch.zeros(1, side, side)
    heatmap[0, :side, : side // 2] = 1.0
    correct, iou = box_localization(heatmap, torch.tensor([[0, 0, side, side]]))
    assert (correct.item(), iou.item()) == (1.0, 0.5)


def test_diagonal_pixels_are_connected_and_the_largest_region_counts():
    heatmap = _heatmap("900000", "090000", "009000", "000000", "000099")
    assert box_localization(heatmap, torch.tensor([[0, 0, 3, 3]]))[1].item() == 1.0
    assert box_localization(heatmap, torch.tensor([[4, 4, 6, 5]]))[1].item() == 0.0


def test_size_is_the_number_of_pixels_not_of_the_box():
    heatmap = _heatmap("90000000", "09000000", "00900099", "00090099", "00000099")
    assert box_localization(heatmap, torch.tensor([[6, 2, 8, 5]]))[1].item() == 1.0


def test_the_best_of_several_boxes_counts():
    boxes = torch.tensor([[[4.0, 4.0, 5.0, 5.0], [1.0, 1.0, 3.0, 3.0], [math.nan] * 4]])
    assert [value.item() for value in box_localization(BLOB, boxes)] == [1.0, 1.0]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_hit_stays_one_beside_a_better_overlap_that_misses(order):
    # a hot box of 20 × 20 on 224: a small box of 14 × 10 inside has IoU .35 and needs 140 / (24 · 20) = .292; a box of
    # 29.4 × 29.4 around it has .463 and needs min(.5, 864 / 1552) = .5, so that the best overlap alone is a miss
    heatmap = torch.zeros(1, 224, 224)
    heatmap[0, 50:70, 50:70] = 1.0
    small, large = [52.0, 52.0, 66.0, 62.0], [45.0, 45.0, 74.4, 74.4]
    assert box_localization(heatmap, torch.tensor([large]))[0].item() == 0.0
    correct, iou = box_localization(heatmap, torch.tensor([[small, large]])[:, order])
    assert (correct.item(), iou.item()) == (1.0, pytest.approx(400 / 29.4**2))
    padded = torch.tensor([[small, [math.nan] * 4, large]])
    assert box_localization(heatmap, padded)[0].item() == 1.0
    assert box_localization(heatmap, torch.tensor([[large, large]]))[0].item() == 0.0


def test_threshold_is_inclusive_and_a_share_of_the_maximum():
    heatmap = torch.tensor([[[0.0, 0.5, 1.0, 0.49, 0.0]]])
    box = torch.tensor([[1, 0, 3, 1]])
    assert box_localization(heatmap, box, threshold=0.5)[1].item() == 1.0
    assert box_localization(10 * heatmap, box, threshold=0.5)[1].item() == 1.0


def test_without_any_box_in_the_batch():
    for boxes in ([torch.zeros(0, 4)] * 2, torch.zeros(2, 0, 4), torch.full((2, 1, 4), math.nan)):
        metric = BoxLocalization()
        metric.update(heatmaps=torch.rand(2, 4, 4), boxes=boxes)
        assert metric.undefined == 2
        assert bool(metric.compute().isnan())


def test_boxes_come_from_masks_if_there_are_none():
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    mask[0, 1:3, 1:3] = True
    metric = BoxLocalization()
    metric.update(heatmaps=BLOB, masks=mask)
    assert (metric.compute().item(), metric.mean_iou().item()) == (1.0, 1.0)


def test_top_k_asks_for_the_label_too():
    class Fixed(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]]).expand(len(images), -1)

    heatmaps, box = BLOB.expand(7, -1, -1), torch.tensor([[1, 1, 3, 3]]).expand(7, -1)
    for top_k, right in ((None, 7), (1, 1), (5, 5)):
        metric = BoxLocalization(top_k=top_k)
        metric.update(
            model=Fixed(), images=torch.zeros(7, 1, 5, 5), heatmaps=heatmaps, target=torch.arange(7), boxes=box
        )
        assert metric.rows[:, 0].tolist() == [1.0] * right + [0.0] * (7 - right)
        assert metric.mean_iou().item() == 1.0
        assert metric.evaluations() == (0 if top_k is None else 1)


def test_jackknife_of_a_mean_is_the_standard_error_of_a_mean():
    metric = ENTRY.updated(Batch.draw(9), tiny_net())
    correct = metric.rows[:, 0]
    correct = correct[~correct.isnan()]
    assert metric.standard_error().item() == pytest.approx((correct.std() / len(correct) ** 0.5).item(), rel=1e-5)


def test_mean_iou_before_any_update():
    assert bool(BoxLocalization().mean_iou().isnan())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"threshold": 0}, r"Expected `threshold` to be > 0\.0, but got 0\."),
        ({"threshold": 1.5}, r"Expected `threshold` to be a share of the maximum, at most 1, but got 1\.5\."),
        ({"top_k": 3}, r"Expected `top_k` to be one of None, 1, 5, but got 3\."),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        BoxLocalization(**settings)
    if "threshold" in settings:
        with pytest.raises(ValueError, match=text):
            box_localization(BLOB, torch.tensor([[1, 1, 3, 3]]), **settings)
