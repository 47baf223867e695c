"""Noise, shifts, mixing and scaling: by the formula, the same in any batch, in the range of the data."""

import pytest
import torch

from lightning_xai import AlphaScaling, GaussianNoise, InputShift, MixUp, Sample
from lightning_xai.comparison.images import images_of
from lightning_xai.comparison.transforms.transformed_images import transformed


def several(count=6, seed=0, size=(5, 7)):
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))
    return images * torch.tensor([1.0, 2.0, 4.0])[:, None, None] - 1.0


def pictures(found):
    return torch.stack([item.image for item in found.probe.items])


def of_all(transform, images, seed=0):
    return transformed(images_of(Sample(images)), transform, seed)


@pytest.mark.parametrize("transform", [GaussianNoise(0.1), MixUp(0.3)], ids=repr)
def test_an_image_is_changed_alike_in_any_batch_and_order(transform):
    images = several(40)  # two batches
    found = pictures(of_all(transform, images))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pictures(of_all(transform, images[order])), found[order], rtol=0, atol=0)
    assert not torch.equal(pictures(of_all(transform, images, seed=1)), found)


def test_noise_has_its_size_and_stays_in_the_range_of_each_channel():
    images = several(20, size=(40, 40))
    span = float(images.max() - images.min())
    found = pictures(of_all(GaussianNoise(0.05), images))
    low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))
    assert bool((found >= low[:, None, None]).all())
    assert bool((found <= high[:, None, None]).all())
    inner = (images - 0.25 * span > low[:, None, None]) & (images + 0.25 * span < high[:, None, None])
    noise = (found - images)[inner]  # five standard deviations from the ends: nothing is cut there
    assert len(noise) > 1000
    assert float(noise.std()) == pytest.approx(0.05 * span, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.01 * span)
    absolute = pictures(of_all(GaussianNoise(0.05 * span, absolute=True), images))
    torch.testing.assert_close(absolute, found)


def test_a_shift_is_not_cut():
    images = several()
    span = float(images.max() - images.min())
    torch.testing.assert_close(pictures(of_all(InputShift(0.5), images)), images + 0.5 * span)
    by_channel = pictures(of_all(InputShift([1, 0.0, -3], absolute=True), images))
    torch.testing.assert_close(by_channel, images + torch.tensor([1.0, 0.0, -3.0])[:, None, None])
    with pytest.raises(ValueError, match=r"^Expected `amount` as one number, or one per channel \(3\)"):
        of_all(InputShift([1.0, 2.0]), images)


def test_the_shift_that_a_first_layer_takes_off_again_changes_no_gradient():
    """What the shift is for: f(x + c) with the bias b − Wc is f(x)."""
    from lightning_xai import Saliency

    images = several()
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(60, 2))
    shift = torch.tensor([1.0, 0.0, -3.0])
    shifted = Sample(InputShift(shift.tolist(), absolute=True)(Sample(images)).images)
    before = Saliency()(net, images, 1)
    net[0].bias.data -= (net[0].weight * shift[:, None, None]).sum((1, 2, 3))
    torch.testing.assert_close(Saliency()(net, shifted.images, 1), before)


def test_scaling_towards_a_baseline():
    images = several()
    torch.testing.assert_close(AlphaScaling(0.25)(Sample(images)).images, 0.25 * images)
    mean = images.mean((2, 3), keepdim=True)
    found = AlphaScaling(0.25, baseline="mean")(Sample(images)).images
    torch.testing.assert_close(found, mean + 0.25 * (images - mean))
    black = AlphaScaling(0.0, baseline=[-1.0, -2.0, 3.0])(Sample(images)).images
    torch.testing.assert_close(black[4, :, 2, 3], torch.tensor([-1.0, -2.0, 3.0]))


class TestMixUp:
    def test_with_one_other_image(self):
        images = several(9)
        found = pictures(of_all(MixUp(0.3), images))
        others = (found - 0.7 * images) / 0.3
        distances = (others[:, None] - images[None]).abs().amax((2, 3, 4))
        partners = distances.argmin(1)
        assert float(distances.amin(1).max()) < 1e-5
        assert all(int(partner) != place for place, partner in enumerate(partners))
        assert len(set(partners.tolist())) > 3

    def test_every_other_image_can_be_the_one(self):
        images = several(4)
        drawn = set()
        for seed in range(40):
            other = (pictures(of_all(MixUp(0.5), images, seed))[0] - 0.5 * images[0]) / 0.5
            drawn.add(int((other - images).abs().amax((1, 2, 3)).argmin()))
        assert drawn == {1, 2, 3}

    def test_a_copy_of_the_image_is_no_other(self):
        images = torch.cat([several(1), several(1), several(1, seed=5)])
        found = pictures(of_all(MixUp(0.5), images))
        torch.testing.assert_close(found[0], (images[0] + images[2]) / 2)
        assert torch.equal(found[0], found[1])
        with pytest.raises(ValueError, match=r"^Expected `data` of at least two different images"):
            of_all(MixUp(0.5), images[:2])

    def test_another_size_and_other_channels(self):
        small, large = several(1, size=(4, 4))[0], several(1, size=(8, 8), seed=2)[0]
        data = images_of([{"image": small, "label": 0}, {"image": large, "label": 1}])
        found = transformed(data, MixUp(0.5))
        expected = torch.nn.functional.interpolate(large[None], (4, 4), mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(found.probe.items[0].image, (small + expected) / 2)
        grey = images_of([{"image": small, "label": 0}, {"image": large[:1], "label": 1}])
        with pytest.raises(ValueError, match=r"^Expected images of one number of channels"):
            transformed(grey, MixUp(0.5))

    def test_label_and_masks_stay(self):
        masks = torch.zeros(3, 5, 7, dtype=torch.bool)
        masks[0, 2, 2] = True
        found = MixUp(0.4)(Sample(several(3), torch.tensor([2, 0, 1]), masks=masks))
        assert found.labels.tolist() == [2, 0, 1]
        assert torch.equal(found.masks, masks)


def test_noise_of_metrics_is_a_share_of_the_range_before():
    images = images_of(Sample(several()))
    for transform in (AlphaScaling(0.1), InputShift(3.0)):
        assert transformed(images, transform).probe.value_range == images.probe.value_range


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: GaussianNoise(-0.1), ValueError, "^Expected `std` to be >= 0"),
        (lambda: InputShift("up"), TypeError, "^Expected `amount` to be a number"),
        (lambda: AlphaScaling(1.1), ValueError, "^Expected `alpha` to be at most 1"),
        (lambda: MixUp(1.0), ValueError, "^Expected `share` to be below 1"),
    ],
    ids=range(4),
)
def test_what_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
