import numpy as np
import pytest
import torch

from lightning_xai.visualization.channels import Channels


@pytest.mark.parametrize("channels", [None, 4, (5, 0, 3), [2, 1, 0]])
def test_limits_are_numpys_quantiles_of_the_shown_channels_alone(channels):
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(6, side, 9, generator=generator) * 1000 for side in (11, 14)]  # of two sizes
    chosen = {None: [0, 1, 2], 4: [4]}.get(channels if channels is None or channels == 4 else 0, channels)
    pixels = np.concatenate([image.numpy()[list(chosen)].reshape(len(chosen), -1) for image in images], 1)
    expected = np.quantile(pixels, [0.02, 0.98], axis=1, method="nearest")
    found = Channels(channels).limits(images)
    assert torch.equal(found, torch.from_numpy(expected))
    images[0][1 - 1 if channels == 4 else 4] = 1e9  # a channel that is not shown decides nothing
    if channels in (None, 4) or 4 not in chosen:
        assert torch.equal(Channels(channels).limits(images), found)


def test_a_glaring_pixel_does_not_hide_the_others():
    image = torch.linspace(0, 1, 2000).reshape(1, 4, 500).repeat(4, 1, 1)
    image[:, 0, :3] = 60_000
    drawn = Channels(1).stretched(image[None])
    assert drawn.shape == (1, 1, 4, 500)
    assert drawn[0, 0, 2, 0].item() == pytest.approx(0.5, abs=0.02)


def test_missing_values_are_black_and_decide_nothing():
    image = torch.tensor([[[0.0, 1.0, 2.0, torch.nan, torch.inf]]]).repeat(4, 1, 1)
    assert Channels(0).stretched(image[None]).flatten().tolist() == [0.0, 0.5, 1.0, 0.0, 0.0]
    nothing = torch.full((1, 4, 2, 2), torch.nan)
    assert torch.equal(Channels().stretched(nothing), torch.zeros(1, 3, 2, 2))


def test_a_constant_channel_is_middle_gray():
    assert torch.equal(Channels(2).stretched(torch.full((1, 4, 2, 2), 7.0)), torch.full((1, 1, 2, 2), 0.5))


def test_limits_of_a_run_make_epochs_and_rows_comparable():
    images = torch.rand(4, 5, 8, 8) * 3000
    limits = Channels().limits(images)
    alone = torch.cat([Channels().stretched(image[None], limits) for image in images])
    assert torch.equal(alone, Channels().stretched(images))


def test_whole_numbers_of_any_kind():
    images = torch.arange(4 * 100).reshape(1, 4, 10, 10).to(torch.int16)
    assert torch.equal(Channels().stretched(images), Channels().stretched(images.double()))


def test_evenly_spaced_values_stand_for_very_many():
    image = torch.rand(4, 1100, 1000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Channels(0).limits([image])[:, 0], torch.tensor([0.02, 0.98]), atol=1e-3, rtol=0)
