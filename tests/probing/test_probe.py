from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch

from lightning_xai._randomness import content_keys
from lightning_xai.probing import processes
from lightning_xai.probing import selection as selection_module
from lightning_xai.probing.probe import Item, Probe
from lightning_xai.probing.processes import OneProcess, agreed_probe, share_of
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.selection import ProbeSelection, turns

CPU = torch.device("cpu")


def images_of(count, seed=0):
    return torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


def batches(images, labels, order, size):
    for start in range(0, len(order), size):
        index = order[start : start + size]
        yield Sample(images[index], None if labels is None else labels[index])


def select(images, labels, order=None, *, size=4, num_images=6):
    selection = ProbeSelection(num_images)
    for sample in batches(images, labels, list(range(len(images))) if order is None else order, size):
        selection.offer(sample)
        assert len(selection.held) <= num_images
        assert list(selection.held.keys() - set(selection.chosen)) == []
    return selection


def dealt(identities, count):
    """Deal cards naively: in every round each class that has one left gives its smallest key, rounds in key order."""
    left = {}
    for key, label in sorted(set(identities)):
        left.setdefault(label, []).append(key)
    chosen = []
    while any(left.values()) and len(chosen) < count:
        chosen += sorted((keys.pop(0), label) for label, keys in left.items() if keys)
    return chosen[:count]


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_depends_on_the_set_of_images_only(seed):
    dice = random.Random(seed)
    count, classes, wished = dice.randint(1, 40), dice.randint(1, 9), dice.randint(1, 12)
    images = images_of(count, seed)
    labels = torch.tensor([min(dice.randrange(classes), dice.randrange(classes)) for _ in range(count)])
    identities = list(zip(content_keys(images).tolist(), labels.tolist(), strict=True))
    expected = dealt(identities, wished)
    assert turns(identities, wished) == expected
    for _ in range(6):
        order = [*range(count), *(dice.randrange(count) for _ in range(dice.randint(0, 10)))]  # duplicates
        dice.shuffle(order)
        assert select(images, labels, order, size=dice.randint(1, 9), num_images=wished).chosen == expected


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_agree_on_what_one_process_would_choose(seed, world_size, monkeypatch):
    dice = random.Random(seed)
    images, labels = images_of(23, seed), torch.tensor([dice.randrange(4) for _ in range(23)])
    order = [*range(23), 0]  # a distributed sampler pads by repeating
    dice.shuffle(order)
    alone = select(images, labels, order)
    selections = [select(images, labels, order[rank::world_size], size=5) for rank in range(world_size)]
    for probe in agree(selections, 6, [], monkeypatch):
        assert probe.identities == alone.chosen
        expected = [alone.held[identity].image for identity in alone.chosen]
        assert torch.equal(probe.sample(range(6), CPU).images, torch.stack(expected))


def agree(selections, num_images, wanted, monkeypatch):
    """Let each of several ranks run `agreed_probe`, exchanging what a collective would exchange."""
    offers = [(selection.chosen, list(selection.held), selection.annotated) for selection in selections]
    payloads, probes = [], []
    for _ in range(2):  # first find out what each rank sends, then let everyone receive it
        sent, probes = [], []
        for rank, selection in enumerate(selections):
            calls = iter([offers, payloads or None])

            def everyones(trainer, value, calls=calls, sent=sent):
                answer = next(calls)
                if answer is None:
                    sent.append(value)
                    raise StopAsyncIteration
                return answer

            monkeypatch.setattr(processes, "of_all", everyones)
            trainer = SimpleNamespace(global_rank=rank, world_size=len(selections))
            try:
                probes.append(agreed_probe(trainer, selection, num_images, wanted))
            except StopAsyncIteration:
                continue
        payloads = sent
    return probes


def test_each_image_travels_once(monkeypatch):
    images, labels = images_of(6), torch.arange(6) % 2
    both = [select(images, labels), select(images, labels)]  # use_distributed_sampler=False: every rank sees all
    sent = []
    original = [(selection.chosen, list(selection.held), selection.annotated) for selection in both]

    def everyones(trainer, value):
        if isinstance(value, tuple):
            return original
        sent.append(value)
        return [both[0].held, {}]

    monkeypatch.setattr(processes, "of_all", everyones)
    for rank, selection in enumerate(both):
        agreed_probe(SimpleNamespace(global_rank=rank, world_size=2), selection, 6, [])
    assert [len(part) for part in sent] == [6, 0]


def test_a_restored_probe_is_taken_only_if_every_image_was_found(monkeypatch):
    images, labels = images_of(12), torch.arange(12) % 3
    keys = content_keys(images).tolist()
    wanted = [(keys[5], 2), (keys[0], 0), (keys[7], 1)]
    for missing, expected in (([], wanted), ([(1, 1)], select(images, labels, num_images=3).chosen)):
        searched = [ProbeSelection(3, [*wanted, *missing]) for _ in range(2)]
        for rank, selection in enumerate(searched):
            for sample in batches(images, labels, list(range(rank, 12, 2)), 4):
                selection.offer(sample)
        for probe in agree(searched, 3, [*wanted, *missing], monkeypatch):
            assert probe.identities == expected


def test_classes_are_balanced():
    labels = torch.tensor([0] * 20 + [1] * 5 + [2] * 2)
    chosen = [label for _, label in select(images_of(27), labels, num_images=9).chosen]
    assert sorted(chosen) == [0, 0, 0, 0, 1, 1, 1, 2, 2]  # the class with two images gives both, others fill up


def test_a_thousand_classes():
    images = torch.rand(3000, 1, 2, 2)
    labels = torch.arange(3000) % 1000
    first = select(images, labels, size=100, num_images=32).chosen
    assert len({label for _, label in first}) == 32
    smallest = {}
    for key, label in zip(content_keys(images).tolist(), labels.tolist(), strict=True):
        smallest[label] = min(smallest.get(label, key), key)
    assert [key for key, _ in first] == sorted(smallest.values())[:32]


def test_multilabel_images_stand_for_one_of_their_classes():
    images = images_of(40)
    labels = torch.rand(40, 5) > 0.7
    labels[:3] = False
    chosen = select(images, labels, num_images=40).chosen
    assert chosen == select(images, labels, list(range(39, -1, -1)), size=7, num_images=40).chosen
    positive = {
        key: row.nonzero().flatten().tolist() for key, row in zip(content_keys(images).tolist(), labels, strict=True)
    }
    assert all(label in positive[key] if positive[key] else label == -1 for key, label in chosen)
    assert {label for _, label in chosen} == {-1, 0, 1, 2, 3, 4}


def test_without_labels_the_smallest_keys_are_chosen():
    images = images_of(9)
    chosen = select(images, None, num_images=4).chosen
    assert chosen == [(key, -1) for key in sorted(content_keys(images).tolist())[:4]]


def test_the_same_image_with_two_labels_counts_twice():
    images = images_of(1).expand(4, -1, -1, -1)
    assert [label for _, label in select(images, torch.tensor([1, 0, 1, 0])).chosen] == [0, 1]


def test_only_winners_are_copied_and_copies_do_not_hold_the_batch(monkeypatch):
    copied = []

    def counted(sample, row):
        copied.append(row)
        return original(sample, row)

    original = selection_module.item_of
    monkeypatch.setattr(selection_module, "item_of", counted)
    images, labels = images_of(400), torch.arange(400) % 2
    selection = ProbeSelection(4)
    for sample in batches(images, labels, list(range(400)), 50):
        before, count = set(selection.held), len(copied)
        selection.offer(sample)
        assert len(copied) - count == len(set(selection.held) - before) <= 4
    selection.offer(Sample(images, labels))
    assert len(copied) <= 4 * 8
    for item in selection.held.values():
        assert item.image.untyped_storage().nbytes() == 9 * 4
        assert item.label.untyped_storage().nbytes() == 8


def test_a_probe_is_a_batch_again():
    masks, boxes = torch.rand(4, 3, 3) > 0.5, torch.tensor([[0.0, 0.0, 2.0, 2.0]]).expand(4, 1, 4).clone()
    images, labels = images_of(4), torch.tensor([1, 0, 1, 0])
    selection = ProbeSelection(4)
    selection.offer(Sample(images, labels, masks, boxes))
    probe = Probe(selection.chosen, [selection.held[identity] for identity in selection.chosen])
    rows = [content_keys(images).tolist().index(key) for key, _ in selection.chosen]
    sample = probe.sample([2, 0], CPU)
    assert torch.equal(sample.images, images[[rows[2], rows[0]]])
    assert torch.equal(sample.masks, masks[[rows[2], rows[0]]])
    assert torch.equal(sample.boxes, boxes[[rows[2], rows[0]]])
    assert sample.labels.tolist() == [probe.labels[2], probe.labels[0]] == labels[[rows[2], rows[0]]].tolist()
    assert probe.annotated
    assert len(probe) == 4


def test_boxes_of_several_batches_are_padded_together():
    def item(*boxes):
        return Item(torch.rand(1, 3, 3), None, None, torch.tensor(boxes))

    probe = Probe([(1, -1), (2, -1)], [item([0.0, 0, 1, 1], [1.0, 1, 2, 2]), item([0.0, 0, 3, 3])])
    boxes = probe.sample([0, 1], CPU).boxes
    assert boxes.shape == (2, 2, 4)
    assert boxes[1, 0].tolist() == [0, 0, 3, 3]
    assert boxes[1, 1].isnan().all()


def test_annotations_of_some_images_are_none_of_the_others():
    with_mask = Item(torch.rand(1, 3, 3), torch.tensor(0), torch.ones(3, 3, dtype=torch.bool), None)
    without = Item(torch.rand(1, 3, 3), torch.tensor(1), None, None)
    probe = Probe([(1, 0), (2, 1)], [with_mask, without])
    assert probe.annotated
    assert probe.sample([0, 1], CPU).masks.flatten(1).sum(1).tolist() == [9, 0]
    assert probe.sample([1], CPU).masks.sum() == 0  # whatever images are asked for, the batch has the same parts


def test_the_state_is_plain():
    probe = Probe([(5, 1), (3, -1)], [])
    probe.previous = {"grad_cam": torch.ones(2, 4, 4).half()}
    probe.previous_target = torch.tensor([1, 0])
    state = probe.state()
    assert state["keys"] == [5, 3]
    assert state["classes"] == [1, -1]
    probe.previous["grad_cam"].zero_()
    assert state["previous"]["grad_cam"].min() == 1


@pytest.mark.parametrize(("count", "world_size"), [(1, 1), (5, 2), (6, 2), (7, 3), (2, 4)])
def test_shares_are_equal_and_cover_everything(count, world_size):
    shares = [share_of(OneProcess(rank, world_size), count) for rank in range(world_size)]
    assert {len(part) for part in shares} == {-(-count // world_size)}
    interleaved = [part[i] for i in range(len(shares[0])) for part in shares]
    assert interleaved[:count] == list(range(count))
