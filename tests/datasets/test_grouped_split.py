import itertools

import numpy as np
import pytest
import torch

from lightning_xai.datasets import grouped_split


def patients(num_groups, num_classes=3, most=8, seed=0):
    """Return labels and groups: patients with one to eight images, mostly of one class; images are shuffled."""
    generator = np.random.default_rng(seed)
    labels, groups = [], []
    for group in range(num_groups):
        favourite = generator.integers(num_classes)
        for _ in range(generator.integers(1, most + 1)):
            labels.append(int(favourite if generator.random() < 0.8 else generator.integers(num_classes)))
            groups.append(f"patient {group}")
    order = generator.permutation(len(labels))
    return [labels[place] for place in order], [groups[place] for place in order]


def sum_of_squares(labels, parts, fractions):
    """The definition, by loops."""
    total = 0.0
    for part, fraction in zip(parts, fractions, strict=True):
        for one in sorted(set(labels)):
            inside = sum(labels[place] == one for place in part)
            total += (inside / labels.count(one) - fraction) ** 2
        total += (len(part) / len(labels) - fraction) ** 2
    return total


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.6, 0.2, 0.2), (0.5, 0.3, 0.1, 0.1)])
def test_groups_stay_together_and_classes_are_shared_out(fractions):
    labels, groups = patients(200)
    parts = grouped_split(labels, groups, fractions)
    assert sorted(itertools.chain(*parts)) == list(range(len(labels)))
    assert all(part == sorted(part) for part in parts)
    seen = [{groups[place] for place in part} for part in parts]
    assert sum(map(len, seen)) == 200
    for part, fraction in zip(parts, fractions, strict=True):
        for one in range(3):
            inside = sum(labels[place] == one for place in part)
            assert inside == pytest.approx(fraction * labels.count(one), abs=1.5)


def test_it_is_nearly_the_best_there_is():
    """All ways to deal ten groups to two parts: ours is the best or close to it, and no move of one group helps."""
    distance = []
    for seed in range(6):
        labels, groups = patients(10, num_classes=2, seed=seed)
        names = sorted(set(groups))

        def split(chosen, labels=labels, groups=groups):
            first = [place for place in range(len(labels)) if groups[place] in chosen]
            return [first, [place for place in range(len(labels)) if groups[place] not in chosen]]

        every = [set(one) for size in range(1, 10) for one in itertools.combinations(names, size)]
        sums = [sum_of_squares(labels, split(one), (0.7, 0.3)) for one in every]
        parts = grouped_split(labels, groups, (0.7, 0.3))
        ours = sum_of_squares(labels, parts, (0.7, 0.3))
        chosen = {groups[place] for place in parts[0]}
        for name in names:
            moved = split(chosen ^ {name})
            assert not all(moved) or sum_of_squares(labels, moved, (0.7, 0.3)) >= ours - 1e-9
        assert sum(one < ours - 1e-9 for one in sums) <= 0.01 * len(sums)
        distance.append(ours - min(sums))
    assert sorted(distance)[2] < 1e-9


def test_beside_scikit_learns_folds():
    from sklearn.model_selection import StratifiedGroupKFold

    for seed in range(3):
        labels, groups = patients(60, seed=seed)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
        theirs = [test.tolist() for _, test in folds]
        ours = grouped_split(labels, groups, [0.2] * 5)
        assert sum_of_squares(labels, ours, [0.2] * 5) <= sum_of_squares(labels, theirs, [0.2] * 5)


def test_several_labels_to_an_image():
    generator = torch.Generator().manual_seed(0)
    findings = (torch.rand(600, 4, generator=generator) < torch.tensor([0.5, 0.2, 0.1, 0.05])).float()
    groups = torch.randint(150, (600,), generator=generator).tolist()
    for labels in (findings, list(findings)):
        parts = grouped_split(labels, groups, [0.75, 0.25])
        shares = findings[parts[1]].sum(0) / findings.sum(0)
        torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.03, rtol=0)


def test_many_groups_are_moved_but_not_exchanged():
    labels = torch.arange(6000) % 7
    parts = grouped_split(labels, range(6000), [0.5, 0.5], seed=1)
    assert all(abs(int((labels[part] == one).sum()) - 3000 / 7) <= 1 for part in parts for one in range(7))


def test_the_seed_decides_between_equals():
    labels, groups = [0, 1] * 50, list(range(100))
    first, again, other = (grouped_split(labels, groups, [0.5, 0.5], seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    torch.manual_seed(0)
    state = torch.get_rng_state()
    grouped_split(labels, groups, [0.5, 0.5])
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_labels_are_shared_out_too():
    labels = [-1] * 40 + [3] * 40
    parts = grouped_split(labels, list(range(80)), [0.5, 0.5])
    assert [sum(labels[place] < 0 for place in part) for part in parts] == [20, 20]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (([0, 1], ["a"], [0.5, 0.5]), ValueError, "`groups` for 2 images"),
        (([0, 1], ["a", "a"], [0.5, 0.5]), ValueError, "at least 2 groups"),
        (([0, 1], ["a", "b"], [0.5, 0.6]), ValueError, "sum to 1"),
        (([0, 1], ["a", "b"], [1.0]), ValueError, "two or more numbers"),
        (([0, 1], ["a", "b"], [1.0, 0.0]), ValueError, "above 0"),
        (([0.5, 1.0], ["a", "b"], [0.5, 0.5]), TypeError, "whole numbers"),
        (([], [], [0.5, 0.5]), ValueError, r"shape \(N,\) or \(N, K\)"),
        (([0] * 9, ["a"] * 5 + ["b"] * 4, [0.98, 0.02]), ValueError, "part 1 gets none"),
    ],
)
def test_wrong_arguments(arguments, error, told):
    with pytest.raises(error, match=told):
        grouped_split(*arguments)
