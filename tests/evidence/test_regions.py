"""Named regions of a case: masks or boxes, told apart, checked and brought into one form."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.evidence import Case

IMAGES = torch.rand(2, 1, 6, 8)
BOX = torch.zeros(2, 6, 8, dtype=torch.bool)
BOX[0, 2:5, 1:4] = True
MASKS = torch.rand(2, 6, 8) > 0.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (MASKS, MASKS),
        (MASKS.float(), MASKS),
        (MASKS.to(torch.uint8) * 255, MASKS),
        (torch.tensor([[1.0, 2.0, 4.0, 5.0], [math.nan] * 4]), BOX),
        (torch.tensor([[[1.0, 2.0, 4.0, 5.0], [math.nan] * 4], [[math.nan] * 4] * 2]), BOX),
        ([torch.tensor([[1, 2, 4, 5]]), torch.zeros(0, 4)], BOX),
        ((torch.tensor([[1.0, 2.0, 3.0, 5.0], [2.0, 2.0, 4.0, 5.0]]), torch.zeros(0, 4)), BOX),
    ],
)
def test_forms(given, expected):
    case = Case(images=IMAGES, regions={"lesion": given, "marker": MASKS})
    assert list(case.regions) == ["lesion", "marker"]
    assert torch.equal(case.regions["lesion"], expected)
    assert case.with_heatmaps(torch.rand(2, 6, 8), target=torch.tensor([0, 1])).regions is case.regions


def test_beside_heatmaps_alone():
    assert torch.equal(Case(heatmaps=torch.rand(2, 6, 8), regions={"a": MASKS}).regions["a"], MASKS)


@pytest.mark.parametrize(
    ("regions", "error", "text"),
    [
        (MASKS, TypeError, "Expected `regions` to map names to masks or boxes, but got Tensor"),
        ({}, ValueError, "Expected `regions` to name at least one region, but got none"),
        ({3: MASKS}, TypeError, "Expected names in `regions` to be words"),
        ({"../a": MASKS}, ValueError, "Expected names in `regions` to be words"),
        (
            {"a": MASKS[:1]},
            ValueError,
            r"Expected `regions\['a'\]` to have shape \(2, 6, 8\) to match `images`, but got",
        ),
        ({"a": MASKS[:, :, :4]}, ValueError, r"Expected `regions\['a'\]` to have shape \(2, 6, 8\)"),
        ({"a": MASKS.float() * math.inf}, ValueError, r"Expected `regions\['a'\]` to be finite"),
        ({"a": torch.rand(3, 1, 4)}, ValueError, r"Expected `regions\['a'\]` to have shape \(2, M, 4\), but got"),
        ({"a": torch.ones(2, 1, 4)}, ValueError, r"Expected `regions\['a'\]` as x0, y0, x1, y1 .* without area"),
        ({"a": [torch.ones(1, 3)] * 2}, ValueError, r"Expected each of `regions\['a'\]` to have shape \(M, 4\)"),
        ({"a": "left"}, TypeError, r"Expected `regions\['a'\]` to be a Tensor or a sequence of Tensors, but got str"),
    ],
)
def test_errors(regions, error, text):
    with pytest.raises(error, match=text):
        Case(images=IMAGES, regions=regions)


def test_numbers_that_can_be_masks_or_boxes_are_asked_about():
    images, both = torch.rand(2, 1, 3, 4), torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 3] * 2)
    with pytest.raises(ValueError, match=r"can be both, because images are 4 pixels wide. Pass masks as bool"):
        Case(images=images, regions={"a": both})
    assert torch.equal(Case(images=images, regions={"a": both > 0}).regions["a"], both > 0)
    assert Case(images=images, regions={"a": both[:, :1]}).regions["a"].sum() == 2


def test_a_metric_that_needs_them_says_so():
    with pytest.raises(ValueError, match="Expected `regions` to be given, because a metric reads it"):
        Case(images=IMAGES).regions  # noqa: B018


def test_parts_have_their_own_images_regions_and_the_seed():
    case = Case(
        torch.nn.Flatten(), torch.rand(11, 1, 6, 8), 0, regions={"a": torch.rand(11, 6, 8) > 0.5}, control_seed=7
    )
    parts = list(case.parts())
    assert [len(part) for _, part in parts] == [11]
    rows = slice(2, 5)
    assert torch.equal(case._part(rows).regions["a"], case.regions["a"][rows])
    assert case._part(rows).control_seed == 7
