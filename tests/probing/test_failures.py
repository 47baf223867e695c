"""The images to be shown are those of the definition, whatever the order in which they come and who sees them."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from lightning_xai.probing import failures
from lightning_xai.probing.failures import FailureImages, Verdicts, agreed_failures, most_confused_pair
from lightning_xai.probing.processes import OneProcess
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.validation import ValidationLogits

COUNT, CLASSES = 60, 4


@pytest.fixture(scope="module")
def validation():
    noise = torch.Generator().manual_seed(3)
    labels = torch.randint(0, CLASSES, (COUNT,), generator=noise)
    logits = torch.randn(COUNT, CLASSES, generator=noise) * 2
    return ValidationLogits(torch.randperm(COUNT, generator=noise) + 1000, labels, logits, "multiclass")


def sample(found, places):
    """Images whose values are their keys, and whose names say the key."""
    keys = found.keys[places]
    images = keys.float()[:, None, None, None].expand(-1, 1, 2, 2).clone()
    return Sample(images, labels=found.labels[places], ids=[f"scan {int(key)}" for key in keys])


def part(found, places):
    return ValidationLogits(found.keys[places], found.labels[places], found.logits[places], found.task)


def offered(found, order, *, batch=7, **settings):
    images = FailureImages(**settings)
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        images.offer(sample(found, places), part(found, places))
    return images


def naive(found):
    """Loss of each wrong image by key, computed one by one."""
    losses = {}
    for key, label, row in zip(found.keys.tolist(), found.labels.tolist(), found.logits.double(), strict=True):
        total = sum(math.exp(float(one)) for one in row)
        if max(range(CLASSES), key=lambda one: float(row[one])) != label:
            losses[key] = -math.log(math.exp(float(row[label])) / total)
    return losses


def shown(found, num_images=8, order=None, **settings):
    order = torch.arange(COUNT) if order is None else order
    return agreed_failures(OneProcess(), offered(found, order, **settings), found, num_images)


def test_the_most_confidently_wrong_and_the_most_confused(validation):
    losses = naive(validation)
    by_loss = sorted(losses, key=losses.get, reverse=True)
    place = {key: index for index, key in enumerate(validation.keys.tolist())}
    predicted = validation.logits.argmax(1).tolist()
    pairs = Counter((int(validation.labels[place[key]]), predicted[place[key]]) for key in losses)
    pair = most_confused_pair(validation)
    assert pairs[pair] == max(pairs.values())
    of_pair = [key for key in by_loss if (int(validation.labels[place[key]]), predicted[place[key]]) == pair][:2]
    told = [(one.kind, one.candidate.key) for one in shown(validation)]
    rest = [key for key in by_loss if key not in of_pair][:6]
    assert told == [("confused", key) for key in of_pair] + [("confidently wrong", key) for key in rest]


def test_each_image_comes_with_what_is_known_about_it(validation):
    for one in shown(validation):
        found = one.candidate
        index = validation.keys.tolist().index(found.key)
        probabilities = validation.logits[index].softmax(0)
        assert (found.label, found.predicted) == (
            int(validation.labels[index]),
            int(validation.logits[index].argmax()),
        )
        assert found.probabilities == pytest.approx(
            (float(probabilities[found.label]), float(probabilities[found.predicted]))
        )
        assert found.item.id == f"scan {found.key}"
        assert float(found.item.image[0, 0, 0]) == found.key


def test_neither_order_nor_batches_decide(validation):
    expected = [(one.kind, one.candidate.key) for one in shown(validation)]
    for seed, batch in ((1, 1), (2, 13), (3, 60)):
        order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
        assert [(one.kind, one.candidate.key) for one in shown(validation, order=order, batch=batch)] == expected


class Thread:
    """A thread as one of two processes."""

    world_size = 2

    def __init__(self, global_rank):
        self.global_rank = global_rank


def test_an_image_that_comes_twice_is_shown_once(validation):
    twice = torch.cat([torch.arange(COUNT), torch.arange(COUNT)])
    expected = [one.candidate.key for one in shown(validation)]
    assert [one.candidate.key for one in shown(validation, order=twice)] == expected
    kept = offered(validation, twice).candidates()["confidently wrong"]
    assert len(kept) == len({one.key for one in kept}) == 32


def test_two_processes_agree_on_what_one_finds(validation, monkeypatch):
    both, said = Barrier(2, timeout=30), {}

    def of_all(processes, value):
        said[processes.global_rank] = value
        both.wait()
        found = [said[0], said[1]]
        both.wait()
        return found

    monkeypatch.setattr(failures, "of_all", of_all)
    halves = [offered(validation, torch.arange(COUNT)[rank::2]) for rank in (0, 1)]
    with ThreadPoolExecutor(2) as threads:
        results = threads.map(lambda rank: agreed_failures(Thread(rank), halves[rank], validation, 8), (0, 1))
        told = [[(one.kind, one.candidate.key) for one in found] for found in results]
    monkeypatch.undo()
    assert told == [[(one.kind, one.candidate.key) for one in shown(validation)]] * 2


def test_newly_wrong_and_newly_right_since_the_last_explanation(validation):
    right_now = validation.correct
    before = ~right_now.clone()  # whatever was right is wrong now, and the other way round
    before[::2] = right_now[::2]  # but for every second image
    order = validation.keys.argsort()
    verdicts = Verdicts(validation.keys[order], before[order])
    told = shown(validation, verdicts=verdicts)
    losses = naive(validation)
    changed = {int(validation.keys[place]) for place in range(1, COUNT, 2)}
    newly_wrong = sorted((key for key in losses if key in changed), key=losses.get, reverse=True)[:2]
    assert [one.candidate.key for one in told if one.kind == "newly wrong"] == newly_wrong
    confidence = dict(zip(validation.keys.tolist(), validation.probabilities.amax(1).tolist(), strict=True))
    now_right = [key for key in changed if key not in losses]
    best = sorted(now_right, key=confidence.get, reverse=True)[:2]
    assert [one.candidate.key for one in told if one.kind == "newly right"] == best
    assert len(told) == len({one.candidate.key for one in told}) == 8


def test_unknown_images_are_neither(validation):
    verdicts = Verdicts(torch.tensor([5]), torch.tensor([True]))
    assert not {one.kind for one in shown(validation, verdicts=verdicts)} & {"newly wrong", "newly right"}
    assert Verdicts(torch.zeros(0, dtype=torch.int64), torch.zeros(0) > 0).of(torch.tensor([3])).tolist() == [-1]


def test_followed_images_come_first_and_on_top(validation):
    names = [f"scan {int(validation.keys[place])}" for place in (4, 9)]
    told = shown(validation, followed=[*names, "nobody"])
    assert {one.candidate.item.id for one in told[:2]} == set(names)
    assert [one.kind for one in told[:2]] == ["followed"] * 2
    assert len(told) == 10


def test_of_several_labels_the_worst_class_is_asked_about():
    logits = torch.tensor([[3.0, -3.0], [-4.0, -1.0]])
    found = ValidationLogits(torch.tensor([1, 2]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]), logits, "multilabel")
    images = FailureImages()
    images.offer(Sample(torch.zeros(2, 1, 2, 2), labels=found.labels), found)
    (failure,) = agreed_failures(OneProcess(), images, found, 8)
    assert (failure.kind, failure.candidate.label, failure.candidate.predicted) == ("confidently wrong", 1, 1)
    assert failure.candidate.probabilities[0] == pytest.approx(1 / (1 + math.exp(3)))


def test_a_finding_that_is_not_there_is_no_label():
    found = ValidationLogits(
        torch.tensor([1, 2]),
        torch.tensor([[0.0, 1.0], [0.0, 0.0]]),
        torch.tensor([[4.0, 5.0], [-1.0, 2.0]]),
        "multilabel",
    )
    images = FailureImages()
    images.offer(Sample(torch.zeros(2, 1, 2, 2), labels=found.labels), found)
    told = {one.candidate.key: one.candidate for one in agreed_failures(OneProcess(), images, found, 8)}
    assert {key: (one.label, one.predicted) for key, one in told.items()} == {1: (-1, 0), 2: (-1, 1)}
    assert told[1].probabilities[1] == pytest.approx(1 / (1 + math.exp(-4)))


def test_without_mistakes_there_is_nothing_to_show():
    found = ValidationLogits(torch.arange(3), torch.tensor([0, 1, 1]), torch.eye(2)[[0, 1, 1]] * 9, "multiclass")
    images = FailureImages()
    images.offer(Sample(torch.zeros(3, 1, 2, 2), labels=found.labels), found)
    assert agreed_failures(OneProcess(), images, found, 8) == []
    assert most_confused_pair(found) is None
