import pytest
import torch

from lightning_xai.visualization import boxed, outlined
from lightning_xai.visualization.contours import contours_of_masks, region_colour, with_region

_GRAY = 100


def canvas(num, height, width):
    return torch.full((num, height, width, 3), _GRAY, dtype=torch.uint8)


def contour_by_loops(mask, width):
    """The definition, pixel by pixel: white inside near an outside pixel, black outside beside an inside pixel."""
    height, columns = mask.shape
    mask = mask.clone()
    mask[0] = mask[-1] = False
    mask[:, 0] = mask[:, -1] = False

    def near(row, column, radius, value):
        rows = range(max(0, row - radius), min(height, row + radius + 1))
        across = range(max(0, column - radius), min(columns, column + radius + 1))
        return any(bool(mask[r, c]) == value for r in rows for c in across)

    expected = torch.full((height, columns), _GRAY, dtype=torch.uint8)
    for row in range(height):
        for column in range(columns):
            if mask[row, column] and near(row, column, width, False):
                expected[row, column] = 255
            elif not mask[row, column] and near(row, column, 1, True):
                expected[row, column] = 0
    return expected


@pytest.mark.parametrize("width", [1, 2])
def test_contours_as_defined(width):
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(24), indexing="ij")
    disc = (rows - 8) ** 2 + (columns - 12) ** 2 < 45
    at_the_border = (rows > 12) & (columns < 9)
    masks = torch.stack([disc, at_the_border, torch.rand(20, 24) > 0.8, torch.ones(20, 24) > 0])
    drawn = outlined(canvas(4, 20, 24), masks, width=width)
    for picture, mask in zip(drawn, masks, strict=True):
        assert torch.equal(picture, contour_by_loops(mask, width).unsqueeze(-1).expand(-1, -1, 3))


def test_masks_may_be_numbers_and_empty_ones_change_nothing():
    mask = torch.zeros(1, 6, 6)
    assert torch.equal(outlined(canvas(1, 6, 6), mask), canvas(1, 6, 6))
    mask[0, 2:4, 2:4] = 0.5
    assert torch.equal(outlined(canvas(1, 6, 6), mask), outlined(canvas(1, 6, 6), mask > 0))


def test_a_box_is_the_outline_of_its_rectangle():
    mask = torch.zeros(1, 12, 16)
    mask[0, 3:9, 2:13] = 1
    expected = outlined(canvas(1, 12, 16), mask, width=2)
    box = torch.tensor([2.0, 3.0, 13.0, 9.0])
    for boxes in (box[None], box[None, None], [box[None]], [box]):
        assert torch.equal(boxed(canvas(1, 12, 16), boxes, width=2), expected)


def test_overlapping_boxes_are_drawn_one_by_one():
    first, second = torch.tensor([[2.0, 2, 8, 8]]), torch.tensor([[5.0, 5, 12, 12]])
    one_by_one = boxed(boxed(canvas(1, 14, 14), first), second)
    assert torch.equal(boxed(canvas(1, 14, 14), [torch.cat([first, second])]), one_by_one)


def test_pictures_may_have_different_numbers_of_boxes():
    box = torch.tensor([[2.0, 2, 6, 6]])
    drawn = boxed(canvas(3, 8, 8), [torch.zeros(0, 4), box, torch.tensor([])])
    assert torch.equal(drawn[0], canvas(1, 8, 8)[0])
    assert torch.equal(drawn[1:2], boxed(canvas(1, 8, 8), box))
    assert torch.equal(drawn[2], canvas(1, 8, 8)[0])


@pytest.mark.parametrize("box", [[3.0, 3, 3, 6], [6.0, 6, 3, 3], [0.0, 0, 0, 0], [float("nan")] * 4])
def test_boxes_without_area_are_not_drawn(box):
    assert torch.equal(boxed(canvas(1, 8, 8), torch.tensor([box])), canvas(1, 8, 8))


class TestRegions:
    """Outlines in a colour for each region, with a black edge."""

    MASK = torch.zeros(1, 20, 20)
    MASK[0, 4:16, 4:16] = 1

    def test_the_line_has_its_colour_and_the_rest_stays(self):
        contours = contours_of_masks(self.MASK, 1)
        drawn = with_region(canvas(1, 20, 20), contours, 0)
        line, edge = contours[0] == 255, contours[0] == 0
        assert {tuple(pixel) for pixel in drawn[0][line].tolist()} == {(0, 229, 255)}
        assert {tuple(pixel) for pixel in drawn[0][edge].tolist()} == {(0, 0, 0)}
        assert torch.equal(drawn[0][~line & ~edge], canvas(1, 20, 20)[0][~line & ~edge])

    def test_eight_regions_differ_and_neighbours_differ_in_dashes(self):
        looks = [region_colour(number) for number in range(9)]
        assert len(set(looks[:8])) == 8
        assert looks[8] == looks[0]
        assert [dashed for _, dashed in looks[:4]] == [False, True, False, True]

    def test_a_dashed_line_is_black_between_its_dashes(self):
        contours = contours_of_masks(self.MASK, 1)
        drawn = with_region(canvas(1, 20, 20), contours, 1)
        line = drawn[0][contours[0] == 255].tolist()
        colour, dashed = region_colour(1)
        assert dashed
        assert {tuple(pixel) for pixel in line} == {colour, (0, 0, 0)}
        assert sum(tuple(pixel) == colour for pixel in line) > len(line) / 2


def test_errors():
    with pytest.raises(ValueError, match=r"`masks` .* match `pictures` .* got \(1, 4, 4\) for pictures \(1, 8, 8, 3\)"):
        outlined(canvas(1, 8, 8), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="`width` to be at least 1 pixel, but got 0"):
        outlined(canvas(1, 8, 8), torch.zeros(1, 8, 8), width=0)
    with pytest.raises(ValueError, match="`boxes` to have one entry for each of the 2 images, but got 1"):
        boxed(canvas(2, 8, 8), torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"shape \(K, 4\), x1, y1, x2, y2 in pixels, but entry 1 has shape \(2, 5\)"):
        boxed(canvas(2, 8, 8), [torch.zeros(1, 4), torch.zeros(2, 5)])
