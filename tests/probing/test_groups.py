"""Groups of images: how a batch says them, how the probe is balanced over them, what is told by them."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from lightning_xai._randomness import content_keys
from lightning_xai.metrics import HAAS, DeletionAUC, InsertionDeletion, Reliance, Sparseness
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.breakdown import breakdown_values
from lightning_xai.probing.explained import Explained
from lightning_xai.probing.groups_in_batch import check_groups, groups_of, no_such_key
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.selection import ProbeSelection, _place_of, turns
from tests.probing.test_probe import agree, images_of

NAN = math.nan
IMAGES = torch.zeros(2, 1, 4, 4)


class TestWhatABatchSays:
    @pytest.mark.parametrize(
        "batch",
        [
            pytest.param({"image": IMAGES, "site": ["3", "4"]}, id="a mapping"),
            pytest.param((IMAGES, {"label": torch.tensor([0, 1]), "site": torch.tensor([3, 4])}), id="in a pair"),
            pytest.param([{"image": one, "site": site} for one, site in zip(IMAGES, (3, 4), strict=True)], id="items"),
            pytest.param((IMAGES, [{"boxes": 1, "site": "3"}, {"boxes": 2, "site": "4"}]), id="targets of detection"),
            pytest.param({"image": IMAGES, "meta": {"site": torch.tensor([[3.0], [4.0]])}}, id="a column, nested"),
            pytest.param({"image": IMAGES, "site": torch.tensor([3, 4]).numpy()}, id="an array"),
        ],
    )
    def test_a_key_is_found_in_every_usual_form(self, batch):
        assert groups_of(batch, "site", 2) == ("3", "4")

    def test_a_function_may_say_that_it_knows_none(self):
        assert groups_of((IMAGES,), lambda batch: ["a", 7], 2) == ("a", "7")
        assert groups_of((IMAGES,), lambda batch: torch.tensor([True, False]), 2) == ("True", "False")
        assert groups_of((IMAGES,), lambda batch: None, 2) is None

    @pytest.mark.parametrize(
        ("given", "error", "said"),
        [
            (["a"], ValueError, "Expected `groups=` of the batch for 2 images, but got 1"),
            (["a", None], TypeError, "to be whole numbers or texts, but got None"),
            (torch.tensor([0.5, 1.0]), TypeError, r"whole numbers or texts, but got 0\.5"),
            (["a", ""], ValueError, "to name every image's group, such as 'unknown'"),
            ("ab", TypeError, "to be a group for each image of the batch, but got str"),
            (torch.tensor(3), TypeError, r"but got a Tensor of shape \(\)"),
            (torch.zeros(2, 3), TypeError, "whole numbers or texts"),
        ],
    )
    def test_what_is_no_group_is_said(self, given, error, said):
        with pytest.raises(error, match=said):
            groups_of((IMAGES,), lambda batch: given, 2)

    def test_a_missing_key_names_the_setting_and_the_keys_that_there_are(self):
        with pytest.raises(KeyError):
            groups_of((IMAGES, torch.zeros(2)), "site", 2)
        assert "groups='site'" in no_such_key((IMAGES,), "site")
        assert "a tuple without keys" in no_such_key((IMAGES,), "site")
        assert "whose keys are image, place" in no_such_key({"image": IMAGES, "place": "here"}, "site")

    @pytest.mark.parametrize(("setting", "error"), [(3, TypeError), (["site"], TypeError), ("", ValueError)])
    def test_the_setting_is_checked(self, setting, error):
        with pytest.raises(error, match="Expected `groups` to be a key of the batch such as 'site'"):
            check_groups(setting)

    def test_a_sample_carries_them(self):
        sample = Sample(IMAGES, groups=torch.tensor([1, 2]))
        assert sample.groups == ("1", "2")
        assert sample.first().groups == ("1",)
        assert Sample(IMAGES).groups is None
        with pytest.raises(ValueError, match="Expected `groups` of the batch for 2 images"):
            Sample(IMAGES, groups=["a"])


def dealt(identities, marked, count):
    """Deal cards naively: classes take turns, in a class its groups, in a group annotated images and small keys."""
    sequences = {}
    for label in {one[1] for one in identities}:
        piles = {}
        of_class = [one for one in set(identities) if one[1] == label]
        for one in sorted(of_class, key=lambda one: (one not in marked, one)):
            piles.setdefault(one[2], []).append(one)
        order = sorted(piles, key=lambda group: _place_of((label, group)))
        sequence = sequences[label] = []
        for turn in itertools.count():
            if not any(piles.values()):
                break
            sequence += [(turn, _place_of((label, group)), piles[group].pop(0)) for group in order if piles[group]]
    nobody, chosen = sequences.pop(-1, []), []
    while any(sequences.values()):
        chosen += sorted(sequence.pop(0) for sequence in sequences.values() if sequence)
    return [one for *_, one in (chosen + nobody)[:count]]


def offered(images, labels, groups, masks, order, size, wished, wanted=()):
    selection = ProbeSelection(wished, wanted)
    for start in range(0, len(order), size):
        index = order[start : start + size]
        selection.offer(Sample(images[index], labels[index], masks=masks[index], groups=[groups[i] for i in index]))
        assert len(selection.held) <= wished + len(wanted)
    return selection


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_depends_on_the_set_of_images_only(seed, monkeypatch):
    dice = random.Random(seed)
    count, wished = dice.randint(8, 50), dice.randint(1, 14)
    images, labels = images_of(count, seed), torch.tensor([dice.randrange(-1, 4) for _ in range(count)])
    groups = [dice.choice(["north", "south", "far away"][: dice.randint(1, 3)]) for _ in range(count)]
    masks = torch.tensor([dice.random() < 0.3 for _ in range(count)])[:, None, None].expand(-1, 3, 3) & (
        torch.arange(9).view(3, 3) == 4
    )
    identities = list(zip(content_keys(images).tolist(), labels.tolist(), groups, strict=True))
    marked = {one for one, mask in zip(identities, masks, strict=True) if mask.any()}
    expected = dealt(identities, marked, wished)
    assert turns(identities, wished, marked) == expected
    for world_size in (1, 2, 3):
        order = [*range(count), *(dice.randrange(count) for _ in range(5))]  # padded by repeats
        dice.shuffle(order)
        parts = [order[rank::world_size] for rank in range(world_size)]
        seen = [offered(images, labels, groups, masks, part, dice.randint(1, 9), wished) for part in parts]
        for probe in agree(seen, wished, [], monkeypatch):
            assert probe.identities == expected
            assert probe.groups == [group for *_, group in expected]
            assert probe.sample(range(len(probe)), torch.device("cpu")).groups == probe.groups


def chosen_of(cells, count):
    """How many images of each (class, group) are chosen, of so many that there are."""
    dice = random.Random(0)
    identities = [(dice.getrandbits(62), *cell) for cell, number in cells.items() for _ in range(number)]
    return Counter(one[1:] for one in turns(identities, count))


def test_the_probe_is_balanced_over_classes_and_groups():
    sites = {(label, site): 40 if site == "large" else 8 for label in range(3) for site in ("large", "small", "new")}
    assert chosen_of(sites, 27) == dict.fromkeys(sites, 3)
    # a class that only one site has gives as many images as the others, all from there
    del sites[0, "small"], sites[0, "new"]
    found = chosen_of(sites, 27)
    assert found[0, "large"] == 9
    assert {cell: number for cell, number in found.items() if cell[0]} == {cell: 3 for cell in sites if cell[0]}


def test_more_classes_and_groups_than_images_leave_no_group_out():
    cells = {(label, site): 3 if site == "rare" else 30 for label in range(24) for site in ("a", "b", "c", "rare")}
    by_group = Counter()
    for (_, group), number in chosen_of(cells, 24).items():
        by_group[group] += number
    assert sum(by_group.values()) == 24
    assert min(by_group[group] for group in ("a", "b", "c", "rare")) >= 3  # 6 each, but for chance


def test_equal_images_of_two_groups_are_two(monkeypatch):
    images = images_of(1).repeat(4, 1, 1, 1)
    selection = ProbeSelection(4)
    selection.offer(Sample(images, torch.zeros(4), groups=["a", "b", "a", "b"]))
    (probe,) = agree([selection], 4, [], monkeypatch)
    assert sorted(probe.groups) == ["a", "b"]
    assert len(set(probe.keys)) == 1


def known(groups=("x", "y", "x", "y", "y", "", "10", "2")):
    """Eight images of three classes, one of none, with rows, control rows and rows of two numbers."""
    dice = torch.Generator().manual_seed(0)
    rows = torch.rand(4, 8, generator=dice)
    rows[0, 1] = NAN
    return Explained(
        keys=torch.arange(8),
        labels=torch.tensor([1, 0, 1, 0, 1, -1, 2, 0]),
        target=torch.zeros(8, dtype=torch.int64),
        predicted=torch.zeros(8, dtype=torch.int64),
        probabilities=torch.rand(8, 2, generator=dice),
        rows={"grad_cam": {"faithfulness": rows[0], "deletion_auc": rows[1], "haas": rows[2:].T.round()}},
        control_rows={"faithfulness": rows[1], "deletion_auc": rows[0]},
        metrics={"faithfulness": InsertionDeletion(), "deletion_auc": DeletionAUC(), "haas": HAAS()},
        groups=groups,
    )


def mean_and_error(values):
    """The mean of numbers without NaN, its standard error, and how many are NaN."""
    defined = [one for one in values if not math.isnan(one)]
    mean = sum(defined) / len(defined)
    if len(defined) < 2:
        return mean, NAN, len(values) - len(defined)
    variance = sum((one - mean) ** 2 for one in defined) / (len(defined) - 1)
    return mean, math.sqrt(variance / len(defined)), len(values) - len(defined)


def by_name(names, values):
    return {
        name: mean_and_error([one for one, other in zip(values, names, strict=True) if other == name])
        for name in set(names) - {"", -1}
    }


def values_of(found, name):
    rows, control = found.rows["grad_cam"], found.control_rows
    base = name.removesuffix("_gain")
    if base == name:
        return rows[base].tolist()
    sign = 1 if base == "faithfulness" else -1
    return [sign * (a - b) for a, b in zip(rows[base].tolist(), control[base].tolist(), strict=True)]


def agrees(found, expected):
    assert found.keys() == expected.keys()
    for name, one in found.items():
        wanted = pytest.approx(expected[name], rel=1e-5, nan_ok=True)
        assert (one.value, one.error, one.undefined) == wanted


DIRECTED = {"faithfulness": 1, "deletion_auc": -1, "faithfulness_gain": 1, "deletion_auc_gain": 1}


@pytest.mark.parametrize("name", DIRECTED)
class TestByClassAndGroup:
    def test_values_are_those_of_the_images(self, name):
        found = known()
        agrees(found.by_class(name), by_name(found.labels.tolist(), values_of(found, name)))
        agrees(found.by_group(name), by_name(found.groups, values_of(found, name)))
        assert list(found.by_class(name)) == [0, 1, 2]
        assert list(found.by_group(name)) == ["2", "10", "x", "y"]
        assert replace(found, groups=None).by_group(name) == {}

    @pytest.mark.parametrize("grouped", [True, False])
    def test_worst_and_gap(self, name, grouped):
        found = known() if grouped else known(None)
        values = breakdown_values(found, "grad_cam", [name, "not_scored"])
        parts = {"worst_class": by_name(found.labels.tolist(), values_of(found, name))}
        if grouped:
            parts["worst_group"] = by_name(found.groups, values_of(found, name))
        assert values.keys() == {f"{one}/{name}" for one in (*parts, "gap")}
        for part, of_names in parts.items():
            several = [one for one in of_names.values() if not math.isnan(one[1])]  # more than one defined image
            ordered = sorted(several, key=lambda one: DIRECTED[name] * one[0])
            found_worst = values[f"{part}/{name}"]
            assert (found_worst.value, found_worst.error) == pytest.approx(ordered[0][:2])
        # of groups where there are some: the last of the loop
        worst, best = ordered[0], ordered[-1]
        gap = values[f"gap/{name}"]
        assert gap.value == pytest.approx(DIRECTED[name] * (best[0] - worst[0]))
        assert gap.value >= 0
        assert gap.error == pytest.approx(math.sqrt(best[1] ** 2 + worst[1] ** 2))


def test_a_metric_that_is_no_mean_of_its_rows_has_its_own_aggregate():
    found = known()
    rows = found.rows["grad_cam"]["haas"]
    for name, estimate in found.by_group("haas").items():
        own = rows[[i for i, group in enumerate(found.groups) if group == name]]
        assert estimate.value == pytest.approx(float(HAAS().aggregate(own)), nan_ok=True)


def test_too_few_images_or_groups_leave_no_value():
    lonely = known(("a", "a", "", "", "", "", "b", ""))  # the second of a is undefined
    values = breakdown_values(lonely, "grad_cam", ["faithfulness"])
    assert math.isnan(values["worst_group/faithfulness"].value)
    assert math.isnan(values["gap/faithfulness"].value)
    one = known(("a", "a", "a", "", "", "", "b", ""))
    values = breakdown_values(one, "grad_cam", ["faithfulness"])
    assert values["worst_group/faithfulness"] == one.by_group("faithfulness")["a"]
    assert math.isnan(values["gap/faithfulness"].value)


def keys_of(*names, metrics=("insertion_deletion", "deletion_auc", "pointing_game")):
    return Keys(Plan(["grad_cam", "layer_cam"], list(metrics)), "xai", 8, names)


class TestKeys:
    def test_there_are_three_for_each_name_and_explainer(self):
        plain, keys = keys_of(), keys_of("faithfulness", "deletion_auc")
        new = keys.all(annotated=True, grouped=True).keys() - plain.all(annotated=True, grouped=True).keys()
        parts, names = ("worst_class", "worst_group", "gap"), ("faithfulness", "deletion_auc")
        explainers = ("grad_cam", "layer_cam")
        assert new == {f"xai/{who}/{part}/{name}" for who in explainers for part in parts for name in names}
        without = keys.all(annotated=True, grouped=False).keys()
        assert new - without == {key for key in new if "worst_group" in key}

    @pytest.mark.parametrize(
        ("key", "worst", "higher"),
        [
            ("worst_class/faithfulness", -1.0, True),
            ("worst_group/deletion_auc", 1.0, False),
            ("worst_group/faithfulness_gain", -2.0, True),
            ("gap/faithfulness", 2.0, False),
            ("gap/faithfulness_gain", 4.0, False),
            ("gap/deletion_auc", 1.0, False),
        ],
    )
    def test_stand_ins_are_the_worst_values(self, key, worst, higher):
        keys = keys_of("faithfulness", "deletion_auc", "faithfulness_gain").all(annotated=True)
        found = keys[f"xai/grad_cam/{key}"]
        assert (found.worst, found.higher_is_better) == (worst, higher)

    def test_what_cannot_be_broken_down_is_said(self):
        with pytest.raises(ValueError, match=r"Expected `breakdown` to be one of .*Did you mean 'faithfulness'\?"):
            keys_of("faithfulnes")
        with pytest.raises(ValueError, match=r"of which a worst value is known, sparseness, but got 'reliance/a'"):
            keys_of("reliance/a", metrics=[Reliance("a"), Sparseness()])

    def test_a_metric_whose_own_name_ends_like_a_gain(self):
        keys = keys_of("average_gain", metrics=["average_gain"]).all(annotated=True)
        assert keys["xai/grad_cam/gap/average_gain"].worst == keys["xai/grad_cam/average_gain"].worst + 100.0
        assert Estimate(0.0).undefined == 0
