"""Turning, cropping and resizing: images beside scipy and torchvision, everything that is marked by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms.v2 import functional as F

from lightning_xai import Coarsening, Crop, Resize, Rotation, Sample

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(3, 2, 11, 14, generator=GENERATOR)
MASKS = torch.rand(3, 11, 14, generator=GENERATOR) > 0.6
BOXES = torch.tensor([[[1.0, 2.0, 6.0, 5.0]], [[9.0, 6.0, 14.0, 11.0]], [[0.0, 0.0, 2.0, 1.0]]])


def marked():
    planes = torch.stack([MASKS, ~MASKS], 1)
    regions = {"marker": MASKS.flip(-1)}
    return Sample(
        IMAGES,
        torch.tensor([0, 1, 1]),
        class_masks=planes,
        masks=MASKS,
        boxes=BOXES,
        box_labels=torch.tensor([[1], [0], [1]]),
        regions=regions,
        ids=["a", "b", "c"],
    )


def boxes_by_hand(place, size):
    """The box around the moved corners of each box, cut at the edges."""
    found = []
    for x0, y0, x1, y1 in BOXES[:, 0].tolist():
        corners = np.array([place(x, y) for x in (x0, x1) for y in (y0, y1)])
        low, high = corners.min(0), corners.max(0)
        low, high = np.clip(low, 0, size[::-1]), np.clip(high, 0, size[::-1])
        found.append([*low, *high] if (high > low).all() else [math.nan] * 4)
    return torch.tensor(np.array(found), dtype=torch.float32)[:, None]


def everything_follows(found, maps):
    """Masks of every kind are moved as ``maps`` moves them; what is no place stays."""
    for given, moved in (
        (MASKS, found.masks),
        (MASKS, found.class_masks[:, 0]),
        (~MASKS, found.class_masks[:, 1]),
        (MASKS.flip(-1), found.regions["marker"]),
    ):
        assert moved.dtype == torch.bool
        np.testing.assert_array_equal(moved.numpy(), np.stack([maps(one.numpy()) for one in given]))
    assert found.labels.tolist() == [0, 1, 1]
    assert found.ids == ("a", "b", "c")


@pytest.mark.parametrize("degrees", [15, -40.0, 90, 180])
def test_rotation(degrees):
    found = Rotation(degrees, fill=[-1.0, 2.0])(marked())
    angle, (height, width) = math.radians(degrees), (11, 14)
    rows, columns = np.mgrid[:height, :width]
    down, right = rows - (height - 1) / 2, columns - (width - 1) / 2
    source = np.stack(
        [
            math.cos(angle) * down + math.sin(angle) * right + (height - 1) / 2,
            math.cos(angle) * right - math.sin(angle) * down + (width - 1) / 2,
        ]
    ).round(9)
    inside = ((source >= -0.5) & (source <= np.array([height, width])[:, None, None] - 0.5)).all(0)
    for image, turned in zip(IMAGES.double().numpy(), found.images, strict=True):
        for channel, fill, of_channel in zip(image, (-1.0, 2.0), turned, strict=True):
            expected = np.where(inside, ndimage.map_coordinates(channel, source, order=1, mode="nearest"), fill)
            np.testing.assert_allclose(of_channel.numpy(), expected, atol=1e-6)

    def maps(mask):
        pixel = np.floor(source + 0.5).astype(int)
        at = (np.clip(pixel[0], 0, height - 1), np.clip(pixel[1], 0, width - 1))
        return mask[at] & inside

    everything_follows(found, maps)

    def place(x, y):
        x, y = x - width / 2, y - height / 2
        turned = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) @ [x, y]
        return turned[0] + width / 2, turned[1] + height / 2

    torch.testing.assert_close(found.boxes, boxes_by_hand(place, (height, width)), atol=1e-5, rtol=0, equal_nan=True)


def test_the_direction_of_a_turn_is_that_of_torchvision():
    image = torch.rand(1, 3, 9, 9, generator=GENERATOR)
    torch.testing.assert_close(Rotation(90)(Sample(image)).images, F.rotate(image, 90))
    inner = (..., slice(3, 6), slice(3, 6))
    expected = F.rotate(image, 20, interpolation=F.InterpolationMode.BILINEAR)
    torch.testing.assert_close(Rotation(20)(Sample(image)).images[inner], expected[inner], atol=1e-5, rtol=0)


def test_a_crop_that_ends_between_pixels_is_a_resize_of_its_inside():
    """Away from its edges, which know their neighbours here, as torchvision cuts and resizes."""
    images = torch.rand(2, 3, 12, 16, generator=GENERATOR)
    found = Crop(0.5)(Sample(images)).images
    expected = F.resize(images[..., 3:9, 4:12], [12, 16], antialias=False)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-6, rtol=0)
    assert not torch.allclose(found[..., 0, :], expected[..., 0, :])


def test_crop_and_what_is_outside():
    found = Crop(0.6)(marked())
    rows, columns = np.mgrid[:11, :14]
    source = 0.6 * (rows - 5) + 5, 0.6 * (columns - 6.5) + 6.5
    for image, enlarged in zip(IMAGES.double().numpy(), found.images, strict=True):
        for channel, of_channel in zip(image, enlarged, strict=True):
            np.testing.assert_allclose(of_channel.numpy(), ndimage.map_coordinates(channel, source, order=1), atol=1e-6)
    pixel = tuple(np.floor(np.round(one, 9) + 0.5).astype(int) for one in source)
    everything_follows(found, lambda mask: mask[pixel])
    expected = boxes_by_hand(lambda x, y: ((x - 7) / 0.6 + 7, (y - 5.5) / 0.6 + 5.5), (11, 14))
    torch.testing.assert_close(found.boxes, expected, atol=1e-5, rtol=0, equal_nan=True)
    assert bool(found.boxes[2].isnan().all())
    assert found.box_labels.tolist() == [[1], [0], [-1]]


@pytest.mark.parametrize(("size", "expected"), [(7, (7, 9)), ((16, 7), (16, 7)), (22, (22, 28))])
def test_resize(size, expected):
    found = Resize(size)(marked())
    assert found.images.shape[2:] == expected
    torch.testing.assert_close(found.images, F.resize(IMAGES, list(expected), antialias=True), atol=1e-6, rtol=0)
    nearest = F.InterpolationMode.NEAREST_EXACT
    everything_follows(found, lambda m: F.resize(torch.from_numpy(m)[None], list(expected), nearest)[0].numpy())
    scale = torch.tensor([expected[1] / 14, expected[0] / 11]).repeat(2)
    torch.testing.assert_close(found.boxes, BOXES * scale)


def test_coarsening_is_a_resize_there_and_back():
    found = Coarsening(0.4)(marked())
    smaller = F.resize(IMAGES, [4, 6], antialias=True)
    torch.testing.assert_close(found.images, F.resize(smaller, [11, 14], antialias=True), atol=1e-6, rtol=0)
    everything_follows(found, lambda mask: mask)
    assert torch.equal(found.boxes, BOXES)


@pytest.mark.parametrize("transform", [Rotation(0), Rotation(360), Crop(1), Resize(11), Coarsening(1.0)], ids=repr)
def test_no_strength_changes_nothing(transform):
    found = transform(marked())
    torch.testing.assert_close(found.images, IMAGES, atol=1e-6, rtol=0)
    everything_follows(found, lambda mask: mask)
    torch.testing.assert_close(found.boxes, BOXES)


def test_a_batch_whose_every_pixel_becomes_the_object():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 2:6] = True
    assert bool(Crop(0.5)(Sample(torch.rand(2, 1, 8, 8), masks=masks)).masks.all())


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Rotation("left"), TypeError, "^Expected `degrees` to be a number"),
        (lambda: Rotation(400), ValueError, "^Expected `degrees` to be <= 360"),
        (lambda: Rotation(5, fill="white"), ValueError, "^Expected `baseline` to be one of"),
        (lambda: Crop(0), ValueError, "^Expected `share` to be > 0"),
        (lambda: Crop(1.5), ValueError, "^Expected `share` to be at most 1"),
        (lambda: Resize(0), ValueError, "^Expected `size` to be >= 1"),
        (lambda: Resize((3, 3, 3)), ValueError, "^Expected `size` as one number"),
        (lambda: Coarsening(2), ValueError, "^Expected `scale` to be at most 1"),
    ],
    ids=range(8),
)
def test_what_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
