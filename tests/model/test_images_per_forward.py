"""A chunk for which a device has no room is halved; values, counts and the order of images stay."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lightning_xai import Case, Classifier, InsertionDeletion, MaskingCurve, Readout
from lightning_xai.callbacks.run import run_state
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.probing.decisions.effort import Effort
from tests._nets import ConvNet, differences, state_of

IMAGES = torch.randn(11, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Crowded(nn.Module):
    """Has room for some images at a time only, on a device whose memory is full."""

    def __init__(self, room, error=torch.OutOfMemoryError):
        super().__init__()
        self.net, self.room, self.error = ConvNet(), room, error
        self.sizes = []

    def forward(self, x):
        SIZES.append(len(x))
        if len(x) > self.room:
            raise self.error("CUDA out of memory")
        return self.net(x)


SIZES = []


@pytest.fixture(autouse=True)
def _fresh():
    SIZES.clear()


@pytest.mark.parametrize(
    ("room", "asked", "sizes"),
    [
        (4, 8, [8, 4, 4, 3]),
        (3, 8, [8, 4, 2, 2, 2, 2, 2, 1]),
        (1, 5, [5, 2, *[1] * 11]),
        (8, 8, [8, 3]),
        (10, 100, [11, 5, 5, 1]),
    ],
)
def test_it_is_halved_until_there_is_room(room, asked, sizes):
    net = Crowded(room).eval()
    before = state_of(net)
    told = []
    classifier = Classifier(net, chunk_size=asked, on_evaluated=told.append)
    if room < min(asked, len(IMAGES)):
        with pytest.warns(UserWarning, match=r"no room for \d+ images at a time.*Readout\(chunk_size=\d+\)"):
            logits = classifier.logits(IMAGES)
    else:
        logits = classifier.logits(IMAGES)
    assert sizes == SIZES
    with torch.no_grad():
        torch.testing.assert_close(logits, net.net(IMAGES))
    assert classifier.evaluations == sum(told) == len(IMAGES)
    assert not differences(before, state_of(net))
    SIZES.clear()
    classifier.rows(slice(0, 1)).lowered().logits(IMAGES)  # all views know it from now on, and nothing is said
    assert max(SIZES) <= room


def test_a_curve_is_the_same():
    heatmaps, target = torch.rand(11, 8, 8), torch.arange(11) % 4
    net = Crowded(3)
    with pytest.warns(UserWarning, match="no room for 5"):
        found = Case(Classifier(net, chunk_size=5), IMAGES, target, heatmaps=heatmaps)[MaskingCurve()]
    expected = Case(net.net, IMAGES, target, heatmaps=heatmaps)[MaskingCurve()]
    torch.testing.assert_close(found, expected)


def test_no_room_for_a_single_image_is_an_error():
    with pytest.warns(UserWarning, match="no room for 2"), pytest.raises(torch.OutOfMemoryError):
        Classifier(Crowded(0), chunk_size=2).logits(IMAGES)
    assert SIZES == [2, 1]


def test_another_error_is_not_tried_again():
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        Classifier(Crowded(2, RuntimeError), chunk_size=4).logits(IMAGES)
    assert SIZES == [4]


def test_several_processes_do_not_part(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with pytest.raises(torch.OutOfMemoryError):
        Classifier(Crowded(2), chunk_size=4).logits(IMAGES)
    assert SIZES == [4]


def test_a_metric_and_what_the_readout_says():
    metric = InsertionDeletion()
    heatmaps = torch.rand(11, 8, 8)
    net = Crowded(4)
    with pytest.warns(UserWarning, match="no room for 6"):
        metric.update(model=Classifier(net, Readout(chunk_size=6)), images=IMAGES, heatmaps=heatmaps, target=0)
    other = InsertionDeletion()
    other.update(model=net.net, images=IMAGES, heatmaps=heatmaps, target=0)
    torch.testing.assert_close(metric.compute(), other.compute())


@pytest.mark.parametrize(("kind", "before"), [("cuda", 64), ("cpu", 32)])
def test_a_run_begins_with_what_was_left(kind, before, monkeypatch):
    monkeypatch.setattr(run_state, "proven_room", lambda device: None if device.type == "cpu" else 1000)
    run, device = RunState(Effort(8), chunk_size=64), torch.device(kind)
    assert run.images_per_forward(device) == run.images_without_gradients(device) == before
    run.note_room(before, device)
    run.chunk_size = 128  # no shortage was met, so that greater batches still count
    assert run.images_per_forward(device) == (128 if kind == "cuda" else 32)
    run.note_room(16, device)
    assert run.images_per_forward(device) == run.images_without_gradients(device) == 16


def test_what_was_chosen_is_for_a_gpu_and_for_forwards_without_gradients(monkeypatch):
    monkeypatch.setattr(run_state, "proven_room", lambda device: None if device.type == "cpu" else 1000)
    run, device = RunState(Effort(8), chunk_size=16, grown=64), torch.device("cuda")
    assert (run.images_per_forward(device), run.images_without_gradients(device)) == (16, 64)
    assert run.images_without_gradients(torch.device("cpu")) == 32
    assert run.images_per_forward(device, 24) == run.images_without_gradients(device, 24) == 24
    run.note_room(32, device)
    assert (run.images_per_forward(device), run.images_without_gradients(device)) == (16, 32)
    run.note_room(8, device)
    assert (run.images_per_forward(device, 24), run.images_without_gradients(device)) == (8, 8)


def test_more_without_gradients():
    net = Crowded(11)
    classifier = Classifier(net, chunk_size=4, images_without_gradients=6)
    expected = Classifier(net.net).logits(IMAGES)
    torch.testing.assert_close(classifier.logits(IMAGES), expected)
    assert SIZES == [6, 5]
    assert [chunk.stop - chunk.start for chunk in classifier.chunks(11)] == [4, 4, 3]
    net.room = 3
    with pytest.warns(UserWarning, match="no room for 6 images"):
        torch.testing.assert_close(classifier.logits(IMAGES), expected)
    assert (classifier.chunk_size, classifier.images_without_gradients) == (3, 3)
    assert Classifier(net, Readout(chunk_size=2), images_without_gradients=6).images_without_gradients == 2


@pytest.mark.cuda
def test_a_device_that_is_really_full():
    class Wide(nn.Module):
        """Needs 12 MiB for an image of 768 bytes."""

        def forward(self, x):
            return x.flatten(1).repeat(1, 1 << 14)[:, :: 1 << 13].contiguous()

    device = torch.device("cuda")
    images = IMAGES.repeat(24, 1, 1, 1)  # 264, that would need 3 GiB at once
    expected = Classifier(Wide(), chunk_size=2).logits(images)
    torch.cuda.empty_cache()
    room = torch.cuda.memory_allocated(device) + (256 << 20)
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(device).total_memory)
    try:
        classifier = Classifier(Wide(), chunk_size=264)
        with pytest.warns(UserWarning, match="no room for 264 images"):
            found = classifier.logits(images.to(device))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 2 <= classifier.chunk_size <= 33
    torch.testing.assert_close(found.cpu(), expected)
