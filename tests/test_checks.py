import numpy as np
import pytest
import torch

from lightning_xai._checks import (
    check_at_least,
    check_choice,
    check_count,
    check_device,
    check_finite,
    check_images,
    check_maps,
    check_target,
)

IMAGES = torch.zeros(3, 1, 4, 5)


class TestImages:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_floating_point_batches_pass(self, dtype):
        images = IMAGES.to(dtype)
        assert check_images(images) is images

    @pytest.mark.parametrize(
        ("images", "error", "message"),
        [
            (
                np.zeros((1, 1, 2, 2)),
                TypeError,
                r"Expected `images` to be a Tensor of shape \(N, C, H, W\), .* ndarray",
            ),
            ([IMAGES], TypeError, "but got list"),
            (IMAGES[0], ValueError, r"shape \(N, C, H, W\) without empty axes, but got \(1, 4, 5\)"),
            (IMAGES[:0], ValueError, r"but got \(0, 1, 4, 5\)"),
            (
                IMAGES.byte(),
                TypeError,
                "floating point, as the model sees them, but got torch.uint8. Apply the model's",
            ),
        ],
    )
    def test_others_are_said(self, images, error, message):
        with pytest.raises(error, match=message):
            check_images(images)


class TestTarget:
    def test_a_class_per_image_or_one_for_all(self):
        target = torch.tensor([0, 2, 1])
        assert check_target(target, IMAGES) is target
        assert check_target(target.to(torch.uint8), IMAGES).dtype == torch.int64
        assert check_target(2, IMAGES).tolist() == [2, 2, 2]

    @pytest.mark.parametrize(
        ("target", "error", "message"),
        [
            (1.0, TypeError, r"hold class indices \(an integer Tensor of shape \(N,\)\), but got float"),
            (True, TypeError, "but got bool"),
            ([0, 1, 2], TypeError, "but got list"),
            (torch.zeros(3), TypeError, r"but got torch\.float32"),
            (torch.zeros(3, dtype=torch.bool), TypeError, r"but got torch\.bool"),
            (torch.zeros(2, dtype=torch.long), ValueError, r"shape \(3,\), one class per image, but got \(2,\)"),
            (torch.zeros(3, 4, dtype=torch.long), ValueError, r"but got \(3, 4\)"),
            (torch.tensor([0, -1, 2]), ValueError, "class indices from 0, but got -1"),
            (-1, ValueError, "class indices from 0, but got -1"),
            (
                torch.zeros(3, dtype=torch.long, device="meta"),
                ValueError,
                "`target` on cpu like `images`, but got meta",
            ),
        ],
    )
    def test_others_are_said(self, target, error, message):
        with pytest.raises(error, match=message):
            check_target(target, IMAGES)


class TestMaps:
    def test_maps_that_match(self):
        for maps in (torch.zeros(3, 4, 5), torch.zeros(3, 4, 5, dtype=torch.bool)):
            assert check_maps(maps, IMAGES, "masks") is maps
        assert check_maps(torch.ones(2, 3, 3), None, "heatmaps").shape == (2, 3, 3)

    @pytest.mark.parametrize(
        ("maps", "images", "error", "message"),
        [
            ([1], IMAGES, TypeError, r"Expected `heatmaps` to be a Tensor of shape \(N, H, W\), but got list"),
            (torch.ones(3, 4, 4), IMAGES, ValueError, r"shape \(3, 4, 5\) to match `images`, but got \(3, 4, 4\)"),
            (torch.ones(3, 1, 4, 5), IMAGES, ValueError, r"but got \(3, 1, 4, 5\)"),
            (torch.ones(4, 5), None, ValueError, r"Expected `heatmaps` to have shape \(N, H, W\), but got \(4, 5\)"),
            (torch.ones(3, 4, 5, device="meta"), IMAGES, ValueError, "`heatmaps` on cpu like `images`, but got meta"),
            (torch.full((3, 4, 5), torch.inf), IMAGES, ValueError, r"3 of 3 contain NaN or infinity \(index 0, 1, 2\)"),
        ],
    )
    def test_others_are_said(self, maps, images, error, message):
        with pytest.raises(error, match=message):
            check_maps(maps, images, "heatmaps")


def test_many_maps_that_are_not_finite_are_listed_in_short():
    maps = torch.zeros(20, 2, 2)
    maps[5:, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"15 of 20 .* \(index 5, 6, 7, 8, 9, 10, 11, 12, \.\.\.\)"):
        check_finite(maps, "maps")


def test_devices():
    check_device(IMAGES, IMAGES, "masks")
    with pytest.raises(ValueError, match="Expected `masks` on meta like `images`, but got cpu"):
        check_device(IMAGES, IMAGES.to("meta"), "masks")


def test_choices():
    check_choice("morf", ("morf", "lerf"), "order")
    with pytest.raises(ValueError, match=r"Expected `order` to be one of 'morf', 'lerf', but got 'mof'. .*'morf'\?"):
        check_choice("mof", ("morf", "lerf"), "order")
    with pytest.raises(ValueError, match=r"but got 7\.$"):
        check_choice(7, ("morf", "lerf"), "order")
    with pytest.raises(ValueError, match=r"but got \['morf'\]"):
        check_choice(["morf"], ("morf", "lerf"), "order")


def test_numbers():
    check_at_least(0, 0, "level")
    check_at_least(1e-9, 0, "level", strict=True)
    check_count(1, "steps")
    for value in (-1, float("nan")):
        with pytest.raises(ValueError, match="Expected `level` to be >= 0, but got "):
            check_at_least(value, 0, "level")
    with pytest.raises(ValueError, match="Expected `level` to be > 0, but got 0"):
        check_at_least(0, 0, "level", strict=True)
    for value in (True, "1", None):
        with pytest.raises(TypeError, match="Expected `level` to be a number, but got"):
            check_at_least(value, 0, "level")
    for value in (True, 1.0, "1"):
        with pytest.raises(TypeError, match="Expected `steps` to be a whole number, but got"):
            check_count(value, "steps")
    with pytest.raises(ValueError, match="Expected `steps` to be >= 2, but got 1"):
        check_count(1, "steps", least=2)
