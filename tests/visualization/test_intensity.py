import pytest
import torch

from lightning_xai.visualization import intensity


def test_each_map_runs_from_its_minimum_to_its_maximum():
    maps = torch.tensor([[[1.0, 2.0, 5.0]], [[0.0, 10.0, 100.0]]])
    torch.testing.assert_close(intensity(maps), torch.tensor([[[0.0, 0.25, 1.0]], [[0.0, 0.1, 1.0]]]))


def test_shared_and_fixed_scales_compare_maps():
    maps = torch.tensor([[[1.0, 2.0, 5.0]], [[1.0, 3.0, 9.0]]])
    torch.testing.assert_close(intensity(maps, "shared"), (maps - 1) / 8)
    torch.testing.assert_close(intensity(maps, 4.0), torch.tensor([[[0.25, 0.5, 1.0]], [[0.25, 0.75, 1.0]]]))


def test_one_negative_value_makes_the_batch_signed_around_zero():
    maps = torch.tensor([[[-2.0, 0.0, 1.0]], [[0.0, 1.0, 4.0]]])
    torch.testing.assert_close(intensity(maps), torch.tensor([[[-1.0, 0.0, 0.5]], [[0.0, 0.25, 1.0]]]))
    torch.testing.assert_close(intensity(maps, "shared"), maps / 4)
    torch.testing.assert_close(intensity(maps, 2.0), (maps / 2).clamp(-1, 1))


@pytest.mark.parametrize("scale", ["image", "shared", 0.5])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-20, float("nan"), float("inf")])
def test_a_constant_map_is_no_heat(scale, value):
    assert torch.equal(intensity(torch.full((2, 3, 3), value), scale), torch.zeros(2, 3, 3))


@pytest.mark.parametrize("scale", ["image", "shared", 4.0])
def test_a_constant_map_takes_no_part_in_the_scale_of_the_others(scale):
    maps = torch.stack([torch.full((1, 2), -100.0), torch.tensor([[0.0, 4.0]])])
    assert torch.equal(intensity(maps, scale), torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]]))


def test_rounding_noise_is_neither_a_pattern_nor_a_sign():
    constant = torch.ones(1, 2, 2)
    constant[0, 0, 0] += 1e-7
    assert torch.equal(intensity(constant), torch.zeros(1, 2, 2))
    assert intensity(torch.tensor([[[-1e-9, 1.0]]]), 1.0).min() == 0


def test_values_that_are_not_finite_are_no_heat():
    maps = torch.tensor([[[0.0, float("nan"), 2.0, float("inf"), 4.0]]])
    assert torch.equal(intensity(maps), torch.tensor([[[0.0, 0.0, 0.5, 0.0, 1.0]]]))


def test_the_strongest_half_percent_is_saturated():
    maps = torch.linspace(0, 1, 1000).reshape(1, 20, 50)
    maps[0, -1, -1] = 3.0
    result = intensity(maps).flatten()
    assert int((result == 1).sum()) == 6  # half a percent is 5 pixels, and the one after them is the end of the scale
    torch.testing.assert_close(result[500], torch.tensor(500 / 994))


def test_saturation_never_starts_below_a_quarter_of_the_maximum():
    maps = torch.zeros(1, 20, 50)
    maps[0, 0, :3] = torch.tensor([0.1, 1.0, 4.0])
    torch.testing.assert_close(intensity(maps)[0, 0, :4], torch.tensor([0.1, 1.0, 1.0, 0.0]))


def test_errors():
    with pytest.raises(ValueError, match=r"`heatmaps` to have shape \(N, H, W\), but got \(2, 2\)"):
        intensity(torch.rand(2, 2))
    for scale in ("images", 0.0, -1):
        with pytest.raises(ValueError, match='`scale` to be "image", "shared" or a positive number, but got'):
            intensity(torch.rand(1, 2, 2), scale)
