"""Choices of a checkpoint: by hand, against a naive version of the definition, and properties that must hold."""

import math

import numpy as np
import pytest

from lightning_xai.probing.decisions.choosing import Candidate, Objectives, chosen, front
from tests.probing.decisions._made import scores

ONE = Objectives(("val_accuracy", "xai/faithfulness_gain"), (1.0, 1.0))
TWO = Objectives(("val_accuracy", "xai/faithfulness_gain", "xai/pointing_game"), (1.0, 1.0, 1.0), margin=0.1)


def candidate(epoch, accuracy, *rows, error=0.02):
    return Candidate(f"{epoch}.ckpt", epoch, 10 * epoch, accuracy, error, tuple(scores(one) for one in rows))


def epochs(candidates):
    return [one.epoch for one in candidates]


def around(mean, spread=0.01):
    """Four images whose mean is given."""
    return [mean - spread, mean + spread, mean - 2 * spread, mean + 2 * spread]


class TestBestExplained:
    def test_the_best_score_among_the_equally_accurate(self):
        made = [candidate(0, 0.50, around(0.9)), candidate(1, 0.90, around(0.4)), candidate(2, 0.91, around(0.3))]
        choice = chosen(made, ONE)
        assert choice.best.epoch == 1
        assert epochs(choice.kept) == [1, 2]
        assert choice.reason == (
            "epoch 1, xai/faithfulness_gain 0.400 ± 0.009, val_accuracy 0.9: the best explained of 2 within 0.02 of "
            "the best val_accuracy (0.91, epoch 2)"
        )

    def test_a_rising_best_accuracy_makes_an_earlier_one_right(self):
        made = [candidate(0, 0.90, around(0.5)), candidate(1, 0.915, around(0.4)), candidate(2, 0.92, around(0.1))]
        assert chosen(made, ONE).best.epoch == 0
        assert epochs(chosen(made, ONE).kept) == [0, 1, 2]
        later = [*made, candidate(3, 0.93, around(0.05))]
        assert chosen(later, ONE).best.epoch == 1
        assert epochs(chosen(later, ONE).kept) == [1, 2, 3]

    def test_scores_within_one_paired_error_are_ties_and_the_more_accurate_wins(self):
        # differences +.04, −.02, +.04, −.02: .01 ± .0173
        made = [candidate(0, 0.90, [0.44, 0.38, 0.44, 0.38]), candidate(1, 0.91, [0.4] * 4)]
        choice = chosen(made, ONE)
        assert choice.best.epoch == 1
        assert "the most accurate of 2 whose xai/faithfulness_gain cannot be told apart" in choice.reason
        assert "(epoch 0 is better by 0.010 ± 0.017)" in choice.reason
        # differences .01 and .03 twice: .02 ± .0058, although each mean has an error of .1
        spread = [0.2, 0.6, 0.2, 0.6]
        apart = [a + b for a, b in zip(spread, [0.01, 0.03, 0.01, 0.03], strict=True)]
        assert chosen([candidate(0, 0.90, apart), candidate(1, 0.91, spread)], ONE).best.epoch == 0

    def test_the_margin_is_the_error_of_the_best_accuracy_or_what_is_given(self):
        made = [candidate(0, 0.90, around(0.5), error=9.0), candidate(1, 0.93, around(0.4), error=0.02)]
        assert chosen(made, ONE).best.epoch == 1
        assert chosen(made, Objectives(ONE.names, ONE.signs, margin=0.04)).best.epoch == 0
        assert chosen(made, Objectives(ONE.names, ONE.signs, margin=0.0)).best.epoch == 1

    def test_no_error_leaves_the_most_accurate(self):
        made = [candidate(0, 0.9, around(0.5), error=math.nan), candidate(1, 0.9, around(0.4), error=math.nan)]
        assert chosen(made, ONE).best.epoch == 0
        made.append(candidate(2, 0.91, around(0.1), error=math.nan))
        assert chosen(made, ONE).best.epoch == 2

    def test_lower_is_better(self):
        signs = Objectives(("val_loss", "xai/max_sensitivity"), (-1.0, -1.0), margin=0.05)
        made = [candidate(0, 0.30, around(0.1)), candidate(1, 0.27, around(0.2)), candidate(2, 0.9, around(0.0))]
        choice = chosen(made, signs)
        assert choice.best.epoch == 0
        assert epochs(choice.kept) == [0, 1]
        assert "within 0.05 of the best val_loss (0.27, epoch 1)" in choice.reason

    def test_the_first_and_one_that_stands_alone(self):
        assert chosen([candidate(0, 0.5, around(0.1))], ONE).reason.endswith("the first one")
        made = [candidate(0, 0.5, around(0.9)), candidate(1, 0.8, around(0.1))]
        assert "no other is within 0.02 of the best val_accuracy" in chosen(made, ONE).reason

    def test_equal_in_everything_is_the_earlier(self):
        made = [candidate(0, 0.9, around(0.5)), candidate(1, 0.9, around(0.5))]
        assert epochs(chosen(made, ONE).kept) == [0]

    def test_a_beaten_one_is_no_tie(self):
        # epoch 0 cannot be told apart from epoch 2, but epoch 1 beats it in both and can be
        best = [0.5, 0.5, 0.5, 0.5]
        noisy, close = [0.0, 0.9, 0.1, 0.8], [0.48, 0.481, 0.48, 0.481]
        made = [candidate(0, 0.901, noisy), candidate(1, 0.905, close), candidate(2, 0.900, best)]
        assert chosen(made, ONE).best.epoch == 2


class TestPareto:
    def test_all_that_none_beats_is_kept(self):
        made = [
            candidate(0, 0.5, around(0.9), around(0.1)),
            candidate(1, 0.6, around(0.2), around(0.9)),
            candidate(2, 0.6, around(0.1), around(0.8)),
            candidate(3, 0.9, around(0.1), around(0.1)),
        ]
        choice = chosen(made, TWO, "pareto")
        assert epochs(choice.kept) == [0, 1, 3]
        assert choice.best.epoch == 3
        assert epochs(chosen(made, TWO).kept) == [3]

    def test_max_kept_spares_the_chosen_and_the_most_accurate(self):
        made = [candidate(i, 0.5 + 0.05 * i, around(0.9 - 0.1 * i * i)) for i in range(6)]
        for max_kept in (1, 2, 3, 4, 6, None):
            choice = chosen(made, ONE, "pareto", max_kept)
            assert len(choice.kept) == (6 if max_kept is None else max_kept)
            assert choice.best.epoch == 5
            assert 5 in epochs(choice.kept)
            assert sorted(epochs(choice.kept) + epochs(choice.crowded_out)) == list(range(6))
        # 0 and 1 differ by .1, later ones by more: those whose neighbour is as good go first
        assert epochs(chosen(made, ONE, "pareto", 4).kept) == [2, 3, 4, 5]

    def test_the_chosen_one_survives_where_it_is_not_the_most_accurate(self):
        made = [candidate(i, 0.90 + 0.001 * i, around(0.9 - 0.1 * i)) for i in range(4)]
        for max_kept in (1, 2, 3):
            choice = chosen(made, ONE, max_kept=max_kept)
            assert choice.best.epoch == 0
            assert 0 in epochs(choice.kept)
        assert epochs(chosen(made, ONE, max_kept=2).kept) == [0, 3]


def naive(accuracies, rows, margin):
    """From the definition, in float64: who is on the front within the margin, and who is chosen."""
    rows = np.asarray(rows, dtype=np.float32).astype(np.float64)
    means = rows.mean(1)
    equal = [i for i, a in enumerate(accuracies) if max(accuracies) - a <= margin]
    points = {i: (accuracies[i], means[i]) for i in equal}
    fronted = [
        i for i in equal if not any(q != points[i] and min(np.subtract(q, points[i])) >= 0 for q in points.values())
    ]
    top = max(fronted, key=lambda i: means[i])
    ties = []
    for i in fronted:
        differences = rows[top] - rows[i]
        error = np.sqrt(((differences - differences.mean()) ** 2).sum() / (len(differences) - 1) / len(differences))
        if differences.mean() <= error:
            ties.append(i)
    return fronted, max(ties, key=lambda i: accuracies[i])


def random_runs(count):
    generator = np.random.default_rng(0)
    for _ in range(count):
        size = int(generator.integers(2, 9))
        images = generator.normal(0.3, 0.2, 6)
        rows = images + generator.normal(0, 0.05, (size, 1)) + generator.normal(0, 0.08, (size, 6))
        yield generator.normal(0.9, 0.02, size).tolist(), rows, float(generator.choice([0.01, 0.03]))


def test_the_choice_is_that_of_the_definition():
    ties = 0
    for accuracies, rows, margin in random_runs(150):
        objectives = Objectives(ONE.names, ONE.signs, margin)
        choice = chosen([candidate(i, a, r) for i, (a, r) in enumerate(zip(accuracies, rows, strict=True))], objectives)
        fronted, best = naive(accuracies, rows, margin)
        assert sorted(epochs(choice.kept) + epochs(choice.crowded_out)) == fronted
        assert choice.best.epoch == best
        ties += "cannot be told apart" in choice.reason
    assert ties > 15


@pytest.mark.parametrize("rule", ["best_explained", "pareto"])
def test_removing_what_is_beaten_as_it_comes_changes_nothing(rule):
    for accuracies, rows, margin in random_runs(30):
        objectives = Objectives(ONE.names, ONE.signs, margin)
        kept = []
        for i, (accuracy, row) in enumerate(zip(accuracies, rows, strict=True)):
            kept = list(chosen([*kept, candidate(i, accuracy, row)], objectives, rule, None).kept)
        made = [candidate(i, a, r) for i, (a, r) in enumerate(zip(accuracies, rows, strict=True))]
        whole = chosen(made, objectives, rule, None)
        assert epochs(kept) == epochs(whole.kept)
        assert chosen(kept, objectives, rule, None).best.epoch == whole.best.epoch


def test_the_front_is_what_none_beats():
    for accuracies, rows, _ in random_runs(50):
        made = [candidate(i, a, r) for i, (a, r) in enumerate(zip(accuracies, rows, strict=True))]
        points = [ONE.values(one) for one in made]
        expected = [i for i, p in enumerate(points) if not any(q[0] > p[0] and q[1] > p[1] for q in points)]
        assert epochs(front(made, ONE)) == expected
