"""The images per forward that are chosen on a GPU, of times and memory that are set here."""

import pytest
import torch
from torch import nn

from lightning_xai import Classifier
from lightning_xai.model import growth
from lightning_xai.model.growth import cheapest_size, grown
from lightning_xai.model.images_per_forward import proven_room
from lightning_xai.model.live_bytes import live_bytes
from tests._nets import ConvNet, differences, state_of

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("size", "most", "busy_from", "expected"),
    [
        (8, 256, 64, 64),
        (8, 256, 1, 8),
        (8, 48, 1000, 32),
        (8, 15, 1000, 8),
        (24, 256, 1000, 192),
        (300, 256, 1000, 300),
    ],
)
def test_doubled_while_an_image_gets_cheaper(size, most, busy_from, expected):
    asked = []

    def seconds(count):
        asked.append(count)
        return float(max(count, busy_from))

    assert grown(size, most, seconds) == expected
    assert max(asked, default=0) <= most


def test_a_tenth_is_worth_it():
    assert grown(8, 16, {8: 1.0, 16: 1.79}.__getitem__) == 16
    assert grown(8, 16, {8: 1.0, 16: 1.81}.__getitem__) == 8


def test_live_bytes_by_hand():
    def work():
        first = torch.zeros(100)
        second = first + 1.0  # 800 bytes
        del first
        third = second.view(10, 10).exp()  # 800
        del second
        return third.sum()  # 400 and 4

    assert live_bytes(work, "cpu") == 800
    assert live_bytes(work, "cuda") == 0


class Flat(nn.Module):
    """Makes of every image of 768 bytes a vector of 192 numbers, and of this one of two."""

    def forward(self, x):
        return (x.flatten(1) * 2.0).view(len(x), 2, -1).sum(2)


@pytest.mark.parametrize(
    ("images_in_room", "expected"), [(7.9, 4), (8.1, 8), (33.0, 32), (10_000.0, 256), (0.0, 4), (-5.0, 4)]
)
def test_half_of_the_room_is_used_at_most(images_in_room, expected, monkeypatch):
    monkeypatch.setattr(growth, "_seconds", lambda forward, _: forward() or 1.0)
    needed = live_bytes(lambda: Flat()(IMAGE.expand(4, -1, -1, -1).clone()), "cpu") / 4
    assert needed == pytest.approx(2 * 768, abs=20)  # the image and its double
    room = int(2 * images_in_room * needed)
    assert cheapest_size(Classifier(Flat(), chunk_size=4), IMAGE, room) == expected


def test_it_leaves_no_trace_and_really_runs():
    net = ConvNet()
    before, told = state_of(net), []
    classifier = Classifier(net, chunk_size=2, on_evaluated=told.append)
    assert cheapest_size(classifier, IMAGE, 10**9) in {2 * 2**k for k in range(8)}
    assert {2, 4} <= set(told)
    assert not differences(before, state_of(net))


def test_extra_goes_with_the_image():
    class Fusion(nn.Module):
        def forward(self, image, table):
            seen.append(table.clone())
            return image.flatten(1) + table

    seen = []
    classifier = Classifier(Fusion(), chunk_size=2).with_extra({"table": torch.tensor([[3.0]])})
    cheapest_size(classifier, IMAGE, 10**6)
    assert seen
    assert all((table == 3.0).all() for table in seen)


def test_a_cpu_has_no_room_of_its_own():
    assert proven_room(torch.device("cpu")) is None


@pytest.mark.cuda
def test_no_more_than_training_took():
    device = torch.device("cuda")
    net = ConvNet().to(device)
    images = torch.randn(256, 3, 64, 64, device=device)
    net(images).sum().backward()
    room = proven_room(device)
    peak = torch.cuda.max_memory_allocated(device)
    size = cheapest_size(Classifier(net, chunk_size=8), images[:1], room)
    assert size >= 8
    assert torch.cuda.max_memory_allocated(device) == peak
