import math
import random
import struct

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_xai._randomness import content_keys, normal, random_bits, uniform

KEYS = torch.arange(1, 201) * 7919
GOLDEN = 0x9E3779B97F4A7C15


def naive_mix(value):
    """The finaliser of splitmix64 (Steele et al. 2014), on python's unbounded integers."""
    value %= 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def naive_hash(key, seed, sample, position):
    return naive_mix(naive_mix(key ^ naive_mix(sample * GOLDEN + seed)) + (position + 1) * GOLDEN)


def naive_key(image):
    values = image.flatten().tolist()
    total = 0
    for position, value in enumerate(values, start=1):
        (bits,) = struct.unpack("<i", struct.pack("<f", value))
        total += (bits ^ (bits >> 16) ^ (bits >> 23)) * (naive_mix(position * GOLDEN) | 1)
    return naive_mix(total ^ (len(values) * GOLDEN)) % 2**62


def draw(kind, keys=KEYS, size=(50,), **settings):
    return kind(keys, size, **({"seed": 3} | settings))


class TestContentKeys:
    def test_an_image_keeps_its_key_in_any_batch_order_and_layout(self):
        images = torch.randn(16, 3, 9, 7)
        keys = content_keys(images)
        assert keys.dtype == torch.int64
        assert keys.shape == (16,)
        assert bool(((keys >= 0) & (keys < 2**62)).all())
        order = torch.randperm(16)
        assert torch.equal(content_keys(images[order]), keys[order])
        assert torch.equal(torch.cat([content_keys(image[None]) for image in images]), keys)
        assert torch.equal(content_keys(images.to(memory_format=torch.channels_last)), keys)
        assert torch.equal(content_keys(images.clone().requires_grad_()), keys)
        with torch.inference_mode():
            assert torch.equal(content_keys(images.clone()), keys)

    def test_half_precision_and_its_exact_float32_copy_have_one_key(self):
        images = torch.randn(4, 3, 8, 8).bfloat16()
        assert torch.equal(content_keys(images), content_keys(images.float()))

    def test_any_one_value_changes_the_key(self):
        image = torch.rand(1, 1, 20, 20)
        changed = image.repeat(400, 1, 1, 1)
        changed.flatten(1).diagonal().add_(2.0**-20)
        assert len(torch.cat([content_keys(image), content_keys(changed)]).unique()) == 401

    def test_large_images_are_sampled_evenly_from_all_channels(self):
        image = torch.rand(1, 3, 64, 64)  # 12,288 values, of which every third counts
        counted = torch.zeros(12288, dtype=torch.bool)
        counted[::3] = True
        for index in (0, 3, 6000, 12285):
            changed = image.clone()
            changed.view(-1)[index] += 1.0
            assert content_keys(changed) != content_keys(image)
        changed = image.clone()
        changed.view(-1)[~counted] += 1.0
        assert content_keys(changed) == content_keys(image)

    def test_the_number_of_values_counts(self):
        zeros = [torch.zeros(1, 1, side, side) for side in (1, 2, 3, 63, 64, 65, 224)]
        assert len({int(content_keys(image)) for image in zeros}) == len(zeros)

    @pytest.mark.parametrize("levels", [2, 3, 256])
    def test_ten_thousand_quantised_images_do_not_collide(self, levels):
        images = torch.randint(0, levels, (10_000, 1, 8, 8)).float() / (levels - 1)
        images = images.flatten(1).unique(dim=0).view(-1, 1, 8, 8)
        assert len(content_keys(images).unique()) == len(images)
        assert len(content_keys((images - 0.1307) / 0.3081).unique()) == len(images)

    def test_sparse_constant_and_systematic_images_do_not_collide(self):
        spots = torch.eye(784)
        pairs = (spots[:60, None] + spots[None, :60]).view(-1, 784).unique(dim=0)
        constant = torch.linspace(-3, 3, 1000)[:, None].expand(-1, 784)
        images = torch.cat([spots, pairs, constant]).unique(dim=0)
        assert len(content_keys(images.view(-1, 1, 28, 28)).unique()) == len(images)
        images = torch.cartesian_prod(*[torch.linspace(0, 1, 4)] * 7).view(-1, 1, 1, 7)
        assert len(content_keys(images).unique()) == 4**7

    def test_every_bit_of_a_key_is_used(self):
        keys = content_keys(torch.randint(0, 2, (4000, 1, 8, 8)).float())
        share = torch.stack([(keys >> bit) & 1 for bit in range(62)]).double().mean(1)
        assert float((share - 0.5).abs().max()) < 5 * 0.5 / 4000**0.5

    def test_pinned_and_equal_to_exact_arithmetic(self):
        image = torch.arange(12.0).view(1, 3, 2, 2) / 11 - 0.3
        assert content_keys(image).tolist() == [naive_key(image)] == [1582943425504719135]

    @pytest.mark.cuda
    def test_the_same_on_cuda(self):
        images = torch.randn(8, 3, 70, 70)
        assert torch.equal(content_keys(images.cuda()).cpu(), content_keys(images))


class TestDraws:
    @pytest.mark.parametrize("kind", [uniform, normal])
    def test_a_key_keeps_its_values_in_any_batch(self, kind):
        values = draw(kind, size=(3, 5))
        assert values.dtype == torch.float32
        assert values.shape == (200, 3, 5)
        order = torch.randperm(200)
        assert torch.equal(draw(kind, KEYS[order], (3, 5)), values[order])
        assert torch.equal(draw(kind, KEYS[7:8], (3, 5))[0], values[7])

    @pytest.mark.parametrize("kind", [uniform, normal])
    def test_more_values_begin_with_the_same_also_where_they_are_drawn_in_blocks(self, kind):
        values = draw(kind, KEYS[:7], (3, 70, 300))
        assert torch.equal(values[4:5], draw(kind, KEYS[4:5], (3, 70, 300)))
        assert torch.equal(draw(kind, KEYS[:2], (200_000,))[:, :63_000], values[:2].flatten(1))
        assert torch.equal(draw(kind, KEYS[:2], (20,)), values[:2].flatten(1)[:, :20])

    @pytest.mark.parametrize("kind", [uniform, normal])
    def test_samples_can_differ_per_image(self, kind):
        sample = torch.arange(200) % 4
        mixed = draw(kind, sample=sample)
        for s in range(4):
            assert torch.equal(mixed[sample == s], draw(kind, sample=s)[sample == s])

    @pytest.mark.parametrize("seed", [0, -1, 2**31, 2**63, -(2**70)])
    def test_any_whole_number_is_a_seed(self, seed):
        values = draw(uniform, seed=seed)
        assert 0.49 < float(values.mean()) < 0.51
        assert not torch.equal(values, draw(uniform, seed=seed + 1))

    def test_uniform_distribution(self):
        values = draw(uniform, size=(500,)).flatten().double()
        assert 0.0 <= float(values.min()) < 1e-3
        assert 0.999 < float(values.max()) < 1.0
        assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3
        moments = [float((values**power).mean()) for power in (1, 2, 3)]
        assert moments == pytest.approx([1 / 2, 1 / 3, 1 / 4], abs=5e-3)

    def test_normal_distribution(self):
        values = draw(normal, size=(500,)).flatten().double()
        assert bool(values.isfinite().all())
        assert stats.kstest(values.numpy(), "norm").pvalue > 1e-3
        moments = [float((values**power).mean()) for power in (1, 2, 3, 4)]
        assert moments == pytest.approx([0, 1, 0, 3], abs=0.06)

    @pytest.mark.parametrize("kind", [uniform, normal])
    def test_keys_samples_seeds_and_positions_are_independent(self, kind):
        number = 10_000
        base = draw(kind, KEYS[:1], (number,))[0]
        others = [
            draw(kind, KEYS[1:2], (number,))[0],
            draw(kind, KEYS[:1] + 1, (number,))[0],
            draw(kind, KEYS[:1], (number,), sample=1)[0],
            draw(kind, KEYS[:1], (number,), seed=4)[0],
            base.roll(1),
            base.roll(2),
            base.roll(number // 2),
        ]
        correlation = torch.corrcoef(torch.stack([base, *others]))
        assert float((correlation - torch.eye(8)).abs().max()) < 5 / number**0.5

    def test_purposes_are_independent_streams_of_one_seed(self):
        drawn = [draw(uniform, KEYS[:1], (10_000,), purpose=purpose)[0] for purpose in ("", "ties", "baseline")]
        bits = [random_bits(KEYS[:1], (10_000,), seed=3, purpose=purpose)[0].float() for purpose in ("", "ties")]
        correlation = torch.corrcoef(torch.stack([*drawn, *bits]))
        same = torch.eye(5)  # bits are the hash that uniform numbers of the same purpose are
        same[0, 3] = same[3, 0] = same[1, 4] = same[4, 1] = 1
        assert float((correlation - same).abs().max()) < 5 / 10_000**0.5

    def test_seed_and_sample_do_not_trade_places(self):
        drawn = [draw(uniform, KEYS[:1], (4,), seed=seed, sample=sample) for seed in range(8) for sample in range(8)]
        assert len(torch.cat(drawn).unique(dim=0)) == 64

    def test_neighbouring_keys_have_unrelated_first_values(self):
        first = draw(uniform, torch.arange(10_000), (2,)).double()
        assert stats.kstest(first[:, 0].numpy(), "uniform").pvalue > 1e-3
        assert abs(float(torch.corrcoef(first.T)[0, 1])) < 0.05
        assert abs(float(torch.corrcoef(torch.stack([first[1:, 0], first[:-1, 0]]))[0, 1])) < 0.05

    def test_bits(self):
        bits = random_bits(KEYS, (500,), seed=3)
        assert bits.dtype == torch.int64
        assert 0 <= int(bits.min()) < int(bits.max()) < 2**31
        share = torch.stack([(bits >> bit).bitwise_and(1).float().mean() for bit in range(31)])
        assert float((share - 0.5).abs().max()) < 5 * 0.5 / 100_000**0.5

    @pytest.mark.parametrize("sample", [0, 2])
    @pytest.mark.parametrize("seed", [0, -5, 2**40])
    def test_equal_to_exact_arithmetic(self, seed, sample):
        key = 123456789
        hashes = [naive_hash(key, seed, sample, position) for position in range(3)]
        fractions = [(h >> 40) / 2**24 for h in hashes]
        values = uniform(torch.tensor([key]), (3,), seed=seed, sample=sample)
        assert values[0].tolist() == fractions
        turns = [(h >> 8) % 2**24 / 2**24 for h in hashes]
        radii = [math.sqrt(-2 * math.log(1 - fraction)) for fraction in fractions]
        expected = [radius * math.cos(2 * math.pi * turn) for radius, turn in zip(radii, turns, strict=True)]
        values = normal(torch.tensor([key]), (3,), seed=seed, sample=sample)
        assert values[0].tolist() == pytest.approx(expected, abs=1e-6)
        bits = random_bits(torch.tensor([key]), (3,), seed=seed)
        assert bits[0].tolist() == [naive_hash(key, seed, 0, position) >> 33 for position in range(3)]

    def test_pinned(self):
        values = uniform(torch.tensor([123456789]), (3,), seed=-5, sample=2)
        assert values[0].tolist() == pytest.approx([0.4949121475, 0.6309030652, 0.4609633088], abs=1e-9)

    def test_arguments_and_global_states_are_left_alone(self):
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        keys, sample, images = KEYS.clone(), torch.arange(200), torch.ones(1, 1, 2, 2)
        content_keys(images)
        for kind in (uniform, normal):
            draw(kind, keys, sample=sample)
        random_bits(keys, (3,), seed=1)
        assert torch.equal(keys, KEYS)
        assert torch.equal(sample, torch.arange(200))
        assert torch.equal(images, torch.ones(1, 1, 2, 2))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]

    @pytest.mark.cuda
    def test_the_same_on_cuda(self):
        assert torch.equal(draw(uniform, KEYS.cuda()).cpu(), draw(uniform))
        assert torch.equal(random_bits(KEYS.cuda(), (9,), seed=1).cpu(), random_bits(KEYS, (9,), seed=1))
        torch.testing.assert_close(draw(normal, KEYS.cuda()).cpu(), draw(normal))
