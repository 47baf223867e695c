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
from lightning_xai.probing.selection import ProbeSelection, turns, winners_of

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
        offers = selection.offers
        assert len(offers.chosen) <= num_images
        assert all(label in {-1, 255} for _, label in offers.ignored)
        assert set(offers.ids) == {*offers.chosen, *offers.ignored}
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


@pytest.mark.parametrize("seed", range(4))
def test_labels_to_ignore_take_no_turn_whatever_the_order(seed, monkeypatch):
    dice = random.Random(seed)
    images, labels = images_of(20, seed), torch.tensor([dice.choice([0, 1, 2, -100, -2, 255]) for _ in range(20)])
    order = list(range(20))
    dice.shuffle(order)
    keys = content_keys(images).tolist()
    with_class = [(key, label) for key, label in zip(keys, labels.tolist(), strict=True) if 0 <= label < 255]
    with_255 = [(key, label) for key, label in zip(keys, labels.tolist(), strict=True) if label >= 0]
    for num_classes, candidates in ((3, with_class), (255, with_class), (256, with_255), (None, with_255)):
        selections = [select(images, labels, order[rank::2], size=3) for rank in range(2)]
        for probe in agree(selections, 6, [], monkeypatch, num_classes):
            assert probe.identities == turns(candidates, 6)


def test_where_all_labels_are_to_be_ignored_images_are_chosen_all_the_same(monkeypatch):
    images, labels = images_of(5), torch.tensor([-100, 255, -2, -2, 255])
    (probe,) = agree([select(images, labels, size=2)], 4, [], monkeypatch, 3)
    assert len(probe) == 4


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
@pytest.mark.parametrize("world_size", [1, 2])
def test_of_equal_images_the_least_id_is_kept(order, world_size, monkeypatch):
    image, names = images_of(1), ["d", "a", "c", "b"]

    def selected(places):
        selection = ProbeSelection(4)
        for place in places:
            selection.offer(Sample(image, torch.zeros(1), ids=[names[place]]))
        return selection

    for probe in agree([selected(order[rank::world_size]) for rank in range(world_size)], 4, [], monkeypatch):
        assert probe.ids == ["a"]
    selection = ProbeSelection(4)
    selection.offer(Sample(image.repeat(4, 1, 1, 1), torch.zeros(4), ids=[names[place] for place in order]))
    assert [item.id for item in selection.held.values()] == ["a"]


def agree(selections, num_images, wanted, monkeypatch, num_classes=None):
    """Let each of several ranks run `agreed_probe`, exchanging what a collective would exchange."""
    offers = [selection.offers for selection in selections]
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
                probes.append(agreed_probe(trainer, selection, num_images, wanted, num_classes))
            except StopAsyncIteration:
                continue
        payloads = sent
    return probes


def test_each_image_travels_once(monkeypatch):
    images, labels = images_of(6), torch.arange(6) % 2
    both = [select(images, labels), select(images, labels)]  # use_distributed_sampler=False: every rank sees all
    sent = []
    original = [selection.offers for selection in both]

    def everyones(trainer, value):
        if not isinstance(value, dict):
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
    first = winners_of([select(images, labels, size=100, num_images=32).offers], 32, frozenset(), 1000)
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


def first_come(identities, marked, count):
    """Deal cards naively as in `dealt`, annotated images before others; images of no class fill what is left."""
    left = {}
    for key, label in sorted(set(identities), key=lambda one: (one not in marked, one)):
        left.setdefault(label, []).append((key, label))
    nobody, chosen = left.pop(-1, []), []
    while any(left.values()):
        chosen += sorted((cards.pop(0) for cards in left.values() if cards), key=lambda one: (one not in marked, one))
    return (chosen + nobody)[:count]


class TestAnnotatedImagesComeFirst:
    """Inside a class and inside a round; classes stay balanced, and the choice depends on the set alone."""

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("kind", ["masks", "boxes"])
    def test_whatever_the_order(self, kind, seed):
        dice = random.Random(seed)
        count, wished = dice.randint(5, 40), dice.randint(1, 12)
        images = images_of(count, seed)
        labels = torch.tensor([dice.randrange(-1, 4) for _ in range(count)])
        has = torch.tensor([dice.random() < 0.4 for _ in range(count)])
        masks = has[:, None, None] & (torch.arange(9).view(3, 3) == 4)
        boxes = torch.where(has[:, None, None], torch.tensor([[[1.0, 1.0, 2.0, 3.0]]]), torch.nan)
        parts = {"masks": masks} if kind == "masks" else {"boxes": boxes}
        identities = list(zip(content_keys(images).tolist(), labels.tolist(), strict=True))
        marked = {one for one, yes in zip(identities, has.tolist(), strict=True) if yes}
        expected = first_come(identities, marked, wished)
        for _ in range(4):
            order, selection, size = [*range(count), 0, 1], ProbeSelection(wished), dice.randint(1, 9)
            dice.shuffle(order)
            for start in range(0, len(order), size):
                index = order[start : start + size]
                known = {name: part[index] for name, part in parts.items()}
                selection.offer(Sample(images[index], labels[index], **known))
                assert len(selection.held) <= wished
            assert selection.chosen == expected
            held = selection.held
            assert all((held[one].mask is None or bool(held[one].mask.any()) == (one in marked)) for one in expected)

    @pytest.mark.parametrize("seed", range(4))
    def test_whatever_the_ranks(self, seed, monkeypatch):
        dice = random.Random(seed)
        images, labels = images_of(24, seed), torch.tensor([dice.randrange(3) for _ in range(24)])
        masks = torch.tensor([dice.random() < 0.3 for _ in range(24)])[:, None, None].expand(24, 3, 3).clone()
        masks[:, 0] = False
        selections = [ProbeSelection(7) for _ in range(3)]
        for rank, selection in enumerate(selections):
            selection.offer(Sample(images[rank::3], labels[rank::3], masks[rank::3]))
        alone = ProbeSelection(7)
        alone.offer(Sample(images, labels, masks))
        for probe in agree(selections, 7, [], monkeypatch):
            assert probe.identities == alone.chosen
            assert torch.equal(
                probe.sample(range(7), CPU).masks, torch.stack([alone.held[i].mask for i in alone.chosen])
            )

    @pytest.mark.parametrize("swapped", [False, True])
    def test_of_two_copies_the_annotated_one_is_kept(self, swapped, monkeypatch):
        image, mask = images_of(1), torch.zeros(1, 3, 3, dtype=torch.bool)
        mask[0, 1, 1] = True
        offers = [Sample(image, torch.tensor([0])), Sample(image, torch.tensor([0]), mask)]
        offers = offers[::-1] if swapped else offers
        one = ProbeSelection(2)
        for sample in offers:
            one.offer(sample)
        (item,) = one.held.values()
        assert item.mask.sum() == 1
        selections = [ProbeSelection(2), ProbeSelection(2)]
        for selection, sample in zip(selections, offers, strict=True):
            selection.offer(sample)
        for probe in agree(selections, 2, [], monkeypatch):
            assert probe.sample([0], CPU).masks.sum() == 1

    def test_enough_annotated_images_of_a_class_are_all_that_is_chosen(self):
        images, labels = images_of(40), torch.arange(40) % 4
        masks = (torch.arange(40) < 24)[:, None, None] & torch.eye(3).bool()
        selection = ProbeSelection(16)
        selection.offer(Sample(images, labels, masks))
        assert all(selection.held[one].mask.any() for one in selection.chosen)  # 6 of 16 were
        assert sorted(label for _, label in selection.chosen) == sorted([0, 1, 2, 3] * 4)

    def test_a_class_without_annotations_keeps_its_turns(self):
        images, labels = images_of(20), torch.arange(20) % 2
        masks = (labels == 1)[:, None, None] & torch.eye(3).bool()
        selection = ProbeSelection(6)
        selection.offer(Sample(images, labels, masks))
        assert sorted(label for _, label in selection.chosen) == [0, 0, 0, 1, 1, 1]

    @pytest.mark.parametrize("kind", ["boxes", "masks"])
    def test_an_image_stands_for_a_class_that_is_annotated(self, kind):
        images, labels = images_of(12), torch.ones(12, 3)
        marked = torch.arange(12) % 4  # class 3 stands for no annotation
        if kind == "boxes":
            boxes = [torch.tensor([[0.0, 0.0, 2.0, 2.0]] * int(c < 3)).view(-1, 4) for c in marked.tolist()]
            sample = Sample(images, labels, None, boxes, [[c] if c < 3 else [] for c in marked.tolist()])
        else:
            planes = torch.nn.functional.one_hot(marked, 4)[:, :3, None, None].bool() & torch.eye(3).bool()
            sample = Sample(images, labels, planes)
        selection = ProbeSelection(12)
        selection.offer(sample)
        of_key = dict(zip(content_keys(images).tolist(), marked.tolist(), strict=True))
        for key, label in selection.chosen:
            assert label == of_key[key] or of_key[key] == 3
        assert len(selection.offers.annotated) == 9


def test_images_without_a_finding_take_no_turn():
    images, labels = images_of(30), torch.zeros(30, 3)
    labels[:10, 0] = labels[10:12, 1] = labels[5, 1] = 1.0
    assert -1 not in {label for _, label in select(images, labels, num_images=12).chosen}
    chosen = select(images, labels, num_images=15).chosen
    assert [label for _, label in chosen[12:]] == [-1, -1, -1]  # they fill what is left
    assert len(select(images, torch.zeros(30, 3), num_images=4).chosen) == 4


class TestSeveralSizes:
    """Groups, batches and parts of a probe whose images differ."""

    def item(self, size, **parts):
        given = {"label": torch.tensor(0), "mask": None, "boxes": None, **parts}
        return Item(torch.rand(1, *size), **given)

    def test_groups_are_in_the_order_of_the_probe(self):
        sizes = [(3, 3), (4, 3), (3, 3), (3, 4), (4, 3)]
        probe = Probe([(i, 0) for i in range(5)], [self.item(size) for size in sizes])
        assert probe.places_by_size == [[0, 2], [1, 4], [3]]
        assert probe.sample([1, 4], CPU).images.shape == (2, 1, 4, 3)

    def test_parts_of_a_batch_do_not_depend_on_its_images(self):
        box, mask = torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.ones(3, 3, dtype=torch.bool)
        items = [self.item((3, 3), mask=mask), self.item((4, 4), boxes=box), self.item((4, 4)), self.item((5, 5))]
        probe = Probe([(i, 0) for i in range(4)], items)
        for places, marked in (([0], [9]), ([1, 2], [2, 0]), ([3], [0])):
            sample = probe.sample(places, CPU)
            assert sample.boxes is None
            assert sample.masks.flatten(1).sum(1).tolist() == marked

    def test_boxes_alone_stay_boxes(self):
        box, labels = torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([2])
        items = [self.item((4, 4), boxes=box, box_labels=labels), self.item((4, 4)), self.item((3, 3))]
        probe = Probe([(i, 0) for i in range(3)], items)
        together, alone = probe.sample([0, 1], CPU), probe.sample([2], CPU)
        assert together.masks is alone.masks is None
        assert together.box_labels.tolist() == [[2], [-1]]
        assert together.boxes[1].isnan().all()
        assert alone.boxes.isnan().all()

    def test_masks_that_cover_their_images_can_meet(self):
        whole = torch.ones(3, 3, dtype=torch.bool)
        probe = Probe([(0, 0), (1, 0)], [self.item((3, 3), mask=whole), self.item((3, 3), mask=whole)])
        assert probe.sample([0, 1], CPU).masks.all()  # what makes a batch doubtful does not make these two


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


def test_regions_go_with_their_images_and_are_empty_where_an_image_lacks_one():
    images, areas = images_of(4), torch.rand(4, 3, 3) > 0.4
    selection = ProbeSelection(4)
    selection.offer(Sample(images[:2], regions={"lesion": areas[:2], "marker": ~areas[:2]}))
    selection.offer(Sample(images[2:3], regions={"marker": torch.tensor([[0.0, 0.0, 2.0, 3.0]])}))
    selection.offer(Sample(images[3:]))
    probe = Probe(selection.chosen, [selection.held[identity] for identity in selection.chosen])
    order = [content_keys(images).tolist().index(key) for key in probe.keys]
    for places in ([0, 1, 2, 3], [3], [2, 0]):
        sample = probe.sample(places, CPU)
        assert list(sample.regions) == ["lesion", "marker"]  # whatever images are asked for
        for row, place in enumerate(order[i] for i in places):
            expected = {"lesion": areas[place], "marker": ~areas[place]} if place < 2 else {}
            if place == 2:
                expected = {"marker": torch.tensor([[True, True, False]] * 3)}
            for name, area in sample.regions.items():
                assert torch.equal(area[row], expected.get(name, torch.zeros(3, 3, dtype=torch.bool)))
    assert not probe.annotated  # a region need not be what a heatmap should find
    assert Probe(probe.identities[:1], [Item(images[0], None, None, None)]).sample([0], CPU).regions is None


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
