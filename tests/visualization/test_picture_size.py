import pytest
import torch

from lightning_xai.visualization.page_layout import PictureSize


@pytest.mark.parametrize(
    ("image", "cell_size", "picture"),
    [
        ((28, 28), 160, (140, 140)),
        ((32, 32), 160, (160, 160)),
        ((64, 64), 160, (128, 128)),
        ((64, 32), 160, (128, 64)),
        ((100, 100), 160, (160, 160)),
        ((160, 160), 160, (160, 160)),
        ((224, 224), 160, (160, 160)),
        ((480, 640), 160, (120, 160)),
        ((100, 400), 160, (80, 320)),  # half a cell for the shorter side
        ((90, 512), 160, (80, 455)),
        ((300, 16), 160, (480, 26)),  # three cells at most
        ((400, 1), 160, (400, 1)),
        ((10, 40), 160, (80, 320)),  # whole multiples there, too
        ((1, 1), 160, (160, 160)),
    ],
)
def test_sizes(image, cell_size, picture):
    assert (PictureSize(*image, cell_size).height, PictureSize(*image, cell_size).width) == picture
    assert PictureSize(*image, cell_size).resized(torch.rand(2, 1, *image)).shape == (2, 1, *picture)


def test_pictures_fill_at_least_seven_tenths_of_a_cell():
    sides = [max(PictureSize(side, side, 160).height, PictureSize(side, side, 160).width) for side in range(1, 400)]
    assert min(sides) >= 112
    assert max(sides) == 160


def test_whole_multiples_keep_pixels_square_and_sharp():
    maps = torch.rand(1, 2, 3, 2)
    resized = PictureSize(3, 2, 10).resized(maps)
    for row in range(9):
        for column in range(6):
            assert torch.equal(resized[..., row, column], maps[..., row // 3, column // 3])


def test_smooth_resizing_stays_in_the_range_of_each_map():
    torch.manual_seed(0)
    maps = torch.rand(2, 1, 100, 100).round() * torch.tensor([1.0, 5.0]).reshape(2, 1, 1, 1)
    for cell_size in (40, 160):
        resized = PictureSize(100, 100, cell_size).resized(maps)
        assert resized.amin() >= 0
        assert resized[0].amax() <= 1
        assert resized[1].amax() <= 5
        torch.testing.assert_close(resized.mean(), maps.mean(), atol=0.05, rtol=0)


def test_masks_keep_their_place():
    masks = torch.zeros(1, 300, 300)
    masks[0, 150:, :75] = 0.2
    resized = PictureSize(300, 300, 160).resized_masks(masks)
    assert torch.equal(resized[0, 80:, :40], torch.ones(80, 40, dtype=torch.bool))
    assert int(resized.sum()) == 80 * 40
