from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_xai.visualization.film import Film, animated, evenly


def film(maps, *, labels=(), pictures=None, captions=()):
    """One gray image of 32 pixels unless given, and a map (N, h, w) for each epoch."""
    gray = [torch.full((32, 32, 3), 160, dtype=torch.uint8)] * len(maps[0])
    return Film(pictures or gray, maps, [f"epoch {i}" for i in range(len(maps))], captions, labels, cell_size=32)


def half(strength):
    """A map of 4×4 whose right half has some heat."""
    heat = torch.zeros(1, 4, 4)
    heat[:, :, 2:] = strength
    return heat


def colour(one, epoch):
    """The colour of the strongest place of the only image in an epoch."""
    return one._column(epoch).pictures[0][16, 30].tolist()


def test_epochs_have_one_scale_and_images_have_their_own():
    one = film([half(1.0), half(2.0), half(4.0)])
    assert [float(heat.max()) for heat in one._heats[0]] == [0.25, 0.5, 1.0]
    doubled = film([half(2.0), half(4.0), half(8.0)])
    assert [colour(one, epoch) for epoch in range(3)] == [colour(doubled, epoch) for epoch in range(3)]
    assert len({tuple(colour(one, epoch)) for epoch in range(3)}) == 3
    two = film([torch.cat([half(1.0), half(50.0)]), torch.cat([half(2.0), half(100.0)])])
    assert [float(heats[0].max()) for heats in two._heats] == [0.5, 0.5]


def test_signed_maps_are_signed_in_every_epoch():
    one = film([half(1.0), half(-2.0)])
    assert (float(one._heats[0][0].max()), float(one._heats[0][1].min())) == (0.5, -1.0)


def test_an_unknown_map_is_blank_and_a_flat_one_says_so():
    unknown = torch.full((1, 4, 4), torch.nan)
    one = film([unknown, torch.zeros(1, 4, 4), half(1.0)], labels=[[""], ["p 0.1"], ["p 0.2"]])
    assert [one._column(epoch).labels for epoch in range(3)] == [[""], ["no heat"], [""]]
    assert [list(one._column(epoch).corner_labels) for epoch in range(3)] == [[""], ["p 0.1"], ["p 0.2"]]
    plain = one._column(0).pictures[0]
    assert int(plain.max()) == int(plain.min())


def test_what_lies_beyond_a_smaller_image_is_not_drawn():
    padded = torch.full((1, 8, 8), torch.nan)
    padded[:, :4, :4] = half(1.0)
    pictures = [torch.full((16, 16, 3), 160, dtype=torch.uint8)]
    one, expected = film([padded, padded], pictures=pictures), film([half(1.0)] * 2, pictures=pictures)
    assert torch.equal(one.strip(), expected.strip())


def test_a_column_per_epoch_that_is_asked_for():
    one = film([half(1.0), half(2.0), half(4.0)], captions=["label cat"])
    widths = [one.strip(epochs).shape[1] for epochs in ([0], [0, 1], [0, 1, 2])]
    assert widths[2] - widths[1] == widths[1] - widths[0] > 0
    assert torch.equal(one.strip(), one.strip([0, 1, 2]))


def test_the_file_has_a_frame_per_epoch_and_rests_on_the_last():
    one = film([torch.cat([half(strength)] * 3) for strength in (1.0, 2.0, 4.0)])
    frames = one.frames()
    assert len({frame.shape for frame in frames}) == 1
    with Image.open(io.BytesIO(animated(frames, milliseconds=100))) as read:
        assert (read.format, read.n_frames, read.size) == ("WEBP", 3, (frames[0].shape[1], frames[0].shape[0]))
        durations = []
        for frame in range(3):
            read.seek(frame)
            read.load()
            durations.append(read.info["duration"])
            shown = torch.from_numpy(np.array(read.convert("RGB"))).int()
            assert float((shown - frames[frame]).abs().float().mean()) < 6.0
    assert durations == [100, 100, 300]


def test_numbers_that_differ_are_refused():
    with pytest.raises(ValueError, match="to hold 1 maps for each of 2 epochs, but got \\[1\\]"):
        Film([torch.zeros(4, 4, 3, dtype=torch.uint8)], [half(1.0)], ["epoch 0", "epoch 1"])
    with pytest.raises(ValueError, match="at least one image and one epoch"):
        Film([], [], [])


@pytest.mark.parametrize("count", [1, 5, 9, 100])
def test_the_first_and_the_last_are_always_among_them(count):
    places = evenly(count, 5)
    assert places[0] == 0
    assert places[-1] == count - 1
    assert len(places) == len(set(places)) == min(count, 5)
    steps = {after - before for before, after in pairwise(places)}
    assert not steps or max(steps) - min(steps) <= 1
