import numpy
import pytest
import torch

from lightning_xai.visualization import as_pictures


def gray(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def first_channel(images, **kwargs):
    """First channel of the only image's only row."""
    return as_pictures(images, **kwargs)[0, 0, :, 0].tolist()


def test_eight_bit_values_survive_every_way_in():
    eight_bit = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    expected = eight_bit.permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
    mean, std = 0.485, 0.229
    assert torch.equal(as_pictures(eight_bit), expected)
    assert torch.equal(as_pictures(eight_bit.float()), expected)
    assert torch.equal(as_pictures(eight_bit / 255), expected)
    assert torch.equal(as_pictures((eight_bit / 255 - mean) / std, mean, std), expected)
    assert torch.equal(as_pictures((eight_bit.double() - 120.0) / 60.0, 120.0, 60.0), expected)


def test_normalisation_is_undone_channel_by_channel():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    picture = torch.tensor([10, 128, 250], dtype=torch.uint8)
    images = (picture / 255 - torch.tensor(mean)) / torch.tensor(std)
    assert as_pictures(images.reshape(1, 3, 1, 1), mean, std).flatten().tolist() == [10, 128, 250]


def test_a_dark_normalised_image_is_not_stretched():
    assert first_channel(gray(0.0, 0.2), mean=0.1, std=0.5) == [26, 51]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0, 0.5, 1.0), [0, 128, 255]),  # inside [0, 1]: kept, not stretched
        ((0.2, 0.4), [51, 102]),
        ((0.0, 20.0, 255.0), [0, 20, 255]),  # 0-255
        ((-1.0, 0.0, 1.0), [0, 128, 255]),  # stretched
        ((0.0, 1.0, 4.0), [0, 64, 255]),  # rectified, not a dark 0-255
        ((0.0, 500.0, 1000.0), [0, 128, 255]),
        ((7.0, 7.0), [128, 128]),  # constant outside any known range
    ],
)
def test_the_range_is_recognised(values, expected):
    assert first_channel(gray(*values)) == expected


def test_the_range_is_decided_by_the_batch_and_stretched_by_image():
    images = torch.cat([gray(0.0, 1.0), gray(0.0, 200.0)])
    assert as_pictures(images)[..., 0].flatten().tolist() == [0, 1, 0, 200]
    images = torch.cat([gray(-1.0, 1.0), gray(-4.0, 0.0)])
    assert as_pictures(images)[..., 0].flatten().tolist() == [0, 255, 0, 255]


def test_values_that_are_not_finite_are_black_and_decide_nothing():
    nan, inf = float("nan"), float("inf")
    assert first_channel(gray(0.0, nan, 0.5, inf)) == [0, 0, 128, 0]
    assert first_channel(gray(-1.0, nan, 1.0, inf)) == [0, 0, 255, 0]
    assert first_channel(gray(nan, nan)) == [0, 0]


def test_channels():
    one, two = torch.tensor([0.2]), torch.tensor([0.2, 0.6])
    three = torch.tensor([0.2, 0.4, 0.6])
    assert as_pictures(one.reshape(1, 1, 1, 1)).flatten().tolist() == [51, 51, 51]
    assert as_pictures(two.reshape(1, 2, 1, 1)).flatten().tolist() == [102, 102, 102]
    assert as_pictures(three.reshape(1, 3, 1, 1)).flatten().tolist() == [51, 102, 153]


@pytest.mark.parametrize("normalisation", [{}, {"mean": 300.0, "std": 50.0}, {"mean": [1.0] * 5, "std": [2.0] * 5}])
def test_of_more_than_three_channels_the_first_are_stretched_over_the_batch(normalisation):
    ramps = torch.arange(101.0).reshape(1, 101, 1) * torch.tensor([1.0, 30.0, 0.001, 5.0, 5.0])[:, None, None]
    images = torch.stack([ramps - 7.0, ramps - 7.0])
    low, high = (torch.tensor(numpy.quantile([range(101)] * 2, q, method="nearest")) for q in (0.02, 0.98))
    expected = ((torch.arange(101.0) - low) / (high - low)).clamp(0, 1) * 255
    pictures = as_pictures(images, **normalisation).float()
    torch.testing.assert_close(pictures[1, :, 0], expected[:, None].expand(-1, 3).float(), atol=0.52, rtol=0)


def test_the_images_are_left_alone():
    images = torch.randn(2, 3, 4, 4, requires_grad=True)
    before = images.detach().clone()
    assert not as_pictures(images).requires_grad
    assert torch.equal(images, before)


def test_errors():
    images = torch.rand(1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"Expected `images` to have shape \(N, C, H, W\) .* got \(3, 2, 2\)"):
        as_pictures(images[0])
    with pytest.raises(ValueError, match="got `mean` alone; give `std` as well"):
        as_pictures(images, mean=0.5)
    with pytest.raises(ValueError, match="got `std` alone; give `mean` as well"):
        as_pictures(images, std=0.5)
    with pytest.raises(ValueError, match=r"`std` to hold one value or one for each of the 3 channels .* got 2 values"):
        as_pictures(images, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5))
