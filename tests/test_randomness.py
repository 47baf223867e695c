from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_xai._randomness import content_keys, normal, random_bits, uniform

MASK = (1 << 64) - 1


def _mix(z: int) -> int:
    """Return splitmix64's finaliser, in Python's own integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def _hash(key: int, seed: int, sample: int, position: int) -> int:
    golden = 0x9E3779B97F4A7C15
    stream = _mix(key ^ _mix((sample * golden + seed) & MASK))
    return _mix((stream + (position + 1) * golden) & MASK)


@pytest.mark.parametrize("seed", [0, 1, -3, 2**40])
@pytest.mark.parametrize("sample", [0, 7])
def test_uniform_is_the_stated_hash(seed, sample):
    keys = content_keys(torch.rand(3, 2, 4, 5))
    found = uniform(keys, (2, 3), seed=seed, sample=sample).flatten(1)
    for row, key in zip(found.tolist(), keys.tolist(), strict=True):
        assert row == [(_hash(key, seed & MASK, sample, i) >> 40) * 2.0**-24 for i in range(6)]


def test_random_bits_are_31_bits_of_the_stated_hash():
    keys = content_keys(torch.rand(2, 1, 4, 5))
    for row, key in zip(random_bits(keys, (5,), seed=4).tolist(), keys.tolist(), strict=True):
        assert row == [(_hash(key, 4, 0, i) >> 33) & 0x7FFFFFFF for i in range(5)]


def test_the_same_alone_and_in_any_batch():
    images = torch.rand(6, 3, 8, 9)
    keys = content_keys(images)
    assert torch.equal(content_keys(images[[4, 1]]), keys[[4, 1]])
    assert torch.equal(content_keys(images.flip(0)), keys.flip(0))
    samples = torch.arange(6)
    for draw in (uniform, normal):
        together = draw(keys, (2, 3), seed=5, sample=samples)
        for i in range(6):
            assert torch.equal(draw(keys[[i]], (2, 3), seed=5, sample=i)[0], together[i])


def test_nothing_is_drawn_from_the_global_generator():
    before = torch.get_rng_state()
    uniform(content_keys(torch.ones(1, 1, 2, 2)), (9,), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_distributions():
    keys = content_keys(torch.rand(200, 1, 3, 3))
    flat = uniform(keys, (500,), seed=0)
    assert flat.min() >= 0.0
    assert flat.max() < 1.0
    assert stats.kstest(flat.flatten().numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal(keys, (500,), seed=0).flatten().numpy(), "norm").pvalue > 1e-3
    bits = random_bits(keys, (500,), seed=0)
    assert stats.kstest(bits.flatten().numpy() / 2**31, "uniform").pvalue > 1e-3


def test_images_positions_samples_seeds_and_purposes_are_independent():
    keys = content_keys(torch.rand(2, 1, 3, 3))
    draws = [
        uniform(keys, (4000,), seed=0, sample=0),
        uniform(keys, (4000,), seed=0, sample=1),
        uniform(keys, (4000,), seed=1, sample=0),
        uniform(keys, (4000,), seed=0, sample=0, purpose="baseline"),
        uniform(keys, (4000,), seed=0, sample=0, purpose="ties"),
        random_bits(keys, (4000,), seed=0, purpose="ties").float(),
    ]
    rows = torch.cat(draws[:5]).numpy()
    off_diagonal = np.corrcoef(rows)[~np.eye(len(rows), dtype=bool)]
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(4000)
    for row in rows:
        assert abs(np.corrcoef(row[1:], row[:-1])[0, 1]) < 4.5 / np.sqrt(4000)
    # the bits of one purpose are the same hash as its uniform numbers, and no other's
    assert np.corrcoef(draws[5][0].numpy(), draws[4][0].numpy())[0, 1] > 0.999
    assert abs(np.corrcoef(draws[5][0].numpy(), draws[3][0].numpy())[0, 1]) < 4.5 / np.sqrt(4000)


def test_keys_depend_on_every_value_and_its_place():
    image = torch.zeros(1, 1, 8, 8)
    keys = {content_keys(image).item()}
    for i in range(64):
        changed = image.clone().flatten(1)
        changed[0, i] = 1e-6
        keys.add(content_keys(changed.view(1, 1, 8, 8)).item())
    assert len(keys) == 65
    assert len({content_keys(torch.full((1, 1, 8, 8), value)).item() for value in np.linspace(-3, 3, 1000)}) == 1000
    assert len({content_keys(torch.zeros(1, 1, side, 8)).item() for side in range(1, 20)}) == 19
    assert all(0 <= key < 2**62 for key in keys)


def test_keys_of_large_images_use_evenly_spaced_values():
    image = torch.rand(1, 3, 64, 64)
    key = content_keys(image)
    used = torch.arange(4096) * image.numel() // 4096
    other = image.clone().flatten()
    other[~torch.isin(torch.arange(image.numel()), used)] = 0.0
    assert torch.equal(content_keys(other.view_as(image)), key)
    other[used[1000]] += 1e-3
    assert not torch.equal(content_keys(other.view_as(image)), key)


def test_keys_of_similar_images_have_no_collisions_and_no_weak_bits():
    images = torch.cartesian_prod(*[torch.linspace(0, 1, 4)] * 7).view(-1, 1, 1, 7)
    keys = content_keys(images)
    assert len(keys.unique()) == len(images) == 4**7
    bits = (keys[:, None] >> torch.arange(62)) & 1
    assert ((bits.float().mean(0) - 0.5).abs() < 5 * 0.5 / len(images) ** 0.5).all()
