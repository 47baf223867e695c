"""Decisions to stop: by hand, against naive versions of the definitions, and on noise."""

import math

import numpy as np
import pytest
import torch

from benchmarks.false_stops import simulated
from lightning_xai.probing.decisions.paired import Explanation
from lightning_xai.probing.decisions.stopping import falls_in_a_row, has_fallen, has_no_gain
from tests.probing.decisions._made import explanations, scores


def naive_fall(rows, patience, num_previous=None, sign=1.0):
    """Rows (T, N) in float64, NaN where undefined -> whether to stop, and how many in a row have fallen."""
    before, fallen = [], []
    for now in np.asarray(rows, dtype=np.float32).astype(np.float64):
        falls = False
        if len(before) >= 3:
            past = np.array(before if num_previous is None else before[-num_previous:])
            differences = []
            for i, value in enumerate(now):
                seen = [one[i] for one in past if not math.isnan(one[i])]
                if seen and not math.isnan(value):
                    differences.append(sign * (value - sum(seen) / len(seen)))
            if len(differences) > 1:
                error = np.std(differences, ddof=1) / math.sqrt(len(differences))
                falls = np.mean(differences) < -2 * error
        if falls:
            fallen.append(now)
        else:
            before, fallen = [*before, *fallen, now], []
    return len(fallen) >= patience, len(fallen)


def naive_no_gain(rows, patience, min_delta="se", sign=1.0):
    best, waiting = None, 0
    for now in np.asarray(rows, dtype=np.float32).astype(np.float64):
        if best is None:
            best = now
            continue
        differences = sign * (now - best)
        differences = differences[~np.isnan(differences)]
        if len(differences) < (2 if min_delta == "se" else 1):
            continue
        needed = np.std(differences, ddof=1) / math.sqrt(len(differences)) if min_delta == "se" else min_delta
        if np.mean(differences) > needed:
            best, waiting = now, 0
        else:
            waiting += 1
    return waiting >= patience, waiting


def runs(count, epochs=9, images=6, undefined=0.0):
    generator = np.random.default_rng(3)
    for _ in range(count):
        steps = generator.normal(0.05, 0.3, (epochs, 1)).cumsum(0)
        rows = steps + generator.normal(0, 1, images) + generator.normal(0, 0.3, (epochs, images))
        rows[generator.random(rows.shape) < undefined] = np.nan
        yield rows


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("undefined", [0.0, 0.15])
@pytest.mark.parametrize(("patience", "num_previous"), [(1, None), (2, None), (2, 3), (3, 4)])
def test_a_fall_is_that_of_the_definition(patience, num_previous, undefined, sign):
    found = set()
    for rows in runs(30, undefined=undefined):
        decision = has_fallen(explanations(*rows), patience=patience, num_previous=num_previous, sign=sign)
        assert (decision.stop, decision.in_a_row) == naive_fall(rows, patience, num_previous, sign)
        found.add(decision.stop)
    assert found == {True, False}


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("undefined", [0.0, 0.15])
@pytest.mark.parametrize(("patience", "min_delta"), [(1, "se"), (3, "se"), (2, 0.1), (2, 0.0)])
def test_no_gain_is_that_of_the_definition(patience, min_delta, undefined, sign):
    found = set()
    for rows in runs(30, undefined=undefined):
        decision = has_no_gain(explanations(*rows), patience=patience, min_delta=min_delta, sign=sign)
        assert (decision.stop, decision.in_a_row) == naive_no_gain(rows, patience, min_delta, sign)
        found.add(decision.stop)
    assert found == {True, False}


def test_a_gain_is_that_of_its_rows_over_the_control():
    rows, control = torch.rand(7, 5), torch.rand(7, 5)
    gains = [Explanation(i, scores(a, control=b)) for i, (a, b) in enumerate(zip(rows, control, strict=True))]
    plain = explanations(*(rows - control))
    for judge in (has_fallen, has_no_gain):
        one, other = judge(gains), judge(plain)
        assert one.in_a_row == other.in_a_row
        assert one.difference.value == pytest.approx(other.difference.value, abs=1e-6)
        assert one.difference.error == pytest.approx(other.difference.error, abs=1e-6)


def test_a_fall_by_hand():
    # means per image of three explanations: .5 and .6; now .3 and .2: differences -.2 and -.4, -.3 ± .1: three errors
    decision = has_fallen(explanations([0.4, 0.6], [0.5, 0.6], [0.6, 0.6], [0.3, 0.2]), patience=1)
    assert decision.stop
    assert decision.difference.value == pytest.approx(-0.3)
    assert decision.difference.error == pytest.approx(0.1)
    assert decision.reason == (
        "-0.300 ± 0.100 (-3.0 standard errors) from the mean of 3 explanations before, a fall of more than 2 standard "
        "errors in epoch 3"
    )


@pytest.mark.parametrize(("last", "falls"), [([0.3, 0.5], False), ([0.3, 0.49], False), ([0.3, 0.41], True)])
def test_two_errors_are_the_limit(last, falls):
    # differences -.2 and -(.5 - x): with x = .5 it is -.1 ± .1, with .41 -.145 ± .055
    assert has_fallen(explanations(*[[0.5, 0.5]] * 3, last), patience=1).stop is falls


def test_falls_count_in_a_row_only():
    high, low = [0.5, 0.6, 0.7], [0.1, 0.21, 0.3]
    for path, in_a_row in (("hhhl", 1), ("hhhll", 2), ("hhhlhl", 1), ("hhhlll", 3), ("hhhllh", 0), ("llllll", 0)):
        made = explanations(*(high if one == "h" else low for one in path))
        decision = has_fallen(made, patience=3)
        assert decision.in_a_row == in_a_row, path
        assert decision.stop is (in_a_row == 3)


def test_what_has_fallen_does_not_pull_the_mean_down():
    rows = [[0.5, 0.6, 0.7]] * 3 + [[0.1, 0.2, 0.3]] * 20
    decision = has_fallen(explanations(*rows), patience=20, num_previous=3)
    assert decision.stop
    assert decision.difference.value == pytest.approx(-0.4)
    assert "16, 17" not in decision.reason
    assert "15 earlier and epochs 18, 19, 20, 21, 22" in decision.reason


def test_three_explanations_come_first():
    for count in (1, 2, 3):
        decision = has_fallen(explanations(*[[0.9, 0.8], [0.5, 0.4], [0.1, 0.0]][:count]), patience=1)
        assert not decision.stop
        assert decision.difference is None
        assert "falls show after 3 explanations" in decision.reason
    assert not has_fallen([], patience=1).stop
    assert not has_no_gain([], patience=1).stop
    assert not has_no_gain(explanations([0.1, 0.2]), patience=1).stop


def test_one_image_and_equal_images():
    assert not has_fallen(explanations([0.5], [0.5], [0.5], [0.1]), patience=1).stop  # no standard error
    assert not has_no_gain(explanations([0.5], [0.1], [0.1]), patience=1).stop
    assert has_no_gain(explanations([0.5], [0.1], [0.1]), patience=2, min_delta=0.1).stop
    assert has_fallen(explanations(*[[0.5, 0.5]] * 3, [0.1, 0.1]), patience=1).stop  # all by the same amount
    assert not has_fallen(explanations(*[[0.5, 0.5]] * 4), patience=1).stop
    assert not has_fallen(explanations(*[[0.5, 0.5]] * 3, [0.9, 0.9]), patience=1).stop


def test_no_gain_by_hand():
    # +.2 and 0 over the best: .1 ± .1, which does not exceed its error; +.3 and +.1: .2 ± .1 does
    made = explanations([0.1, 0.1], [0.3, 0.1])
    assert has_no_gain(made, patience=1).stop
    assert not has_no_gain(made, patience=1, min_delta=0.09).stop
    assert has_no_gain(made, patience=1, min_delta=0.11).stop
    assert not has_no_gain(explanations([0.1, 0.1], [0.4, 0.2]), patience=1).stop
    assert has_no_gain(made, patience=1).reason == (
        "+0.100 ± 0.100 from the best, epoch 0; no gain above its standard error in epoch 1"
    )


def test_small_steps_add_up_because_they_are_measured_from_the_best():
    rows = [[0.1 * step, 0.1 * step + (-1) ** step * 0.3] for step in range(8)]
    assert has_no_gain(explanations(*rows), patience=7).in_a_row < 7


def test_after_a_change_of_the_probe_comparisons_start_anew():
    before = explanations(*[[0.9, 0.8]] * 5)
    after = [Explanation(5 + i, scores([0.1, 0.2], keys=[7, 8])) for i in range(3)]
    for judge in (has_fallen, has_no_gain):
        assert not judge([*before, *after[:1]], patience=1).stop
        assert judge([*before, *after], patience=3) == judge(after, patience=3)
    back = [*before, *after, *explanations([0.1, 0.2])]
    assert has_fallen(back, patience=1).difference is None


def test_images_are_found_by_key_in_any_order():
    rows = torch.rand(6, 4)
    shuffled = [
        Explanation(i, scores(one[order], keys=order.tolist()))
        for i, (one, order) in enumerate((one, torch.randperm(4)) for one in rows)
    ]
    for judge in (has_fallen, has_no_gain):
        one, other = judge(shuffled), judge(explanations(*rows))
        assert one.in_a_row == other.in_a_row
        assert one.difference.value == pytest.approx(other.difference.value, abs=1e-6)


def test_an_image_with_another_explained_class_is_left_out_of_its_mean():
    first = [Explanation(i, scores([0.9, 0.5, 0.6], target=[1, 0, 0])) for i in range(3)]
    last = Explanation(3, scores([0.0, 0.4, 0.3], target=[0, 0, 0]))
    decision = has_fallen([*first, last], patience=1)
    assert decision.difference.value == pytest.approx(-0.2)
    assert decision.difference.undefined == 1


def test_an_image_that_was_undefined_once_counts_with_the_rest_of_its_past():
    decision = has_fallen(explanations([0.4, 0.6], [math.nan, 0.6], [0.6, 0.6], [0.3, 0.2]), patience=1)
    assert decision.difference.value == pytest.approx(-0.3)
    made = [Explanation(i, scores([0.4, 0.6], control=[0.0, math.nan if i == 1 else 0.0])) for i in range(3)] + [
        Explanation(3, scores([0.3, 0.2], control=[0.0, 0.0]))
    ]
    assert has_fallen(made, patience=1).difference.value == pytest.approx(-0.25)


class TestNoise:
    """A score without any trend: how often chance stops a run. The docs print the rates of many more."""

    @pytest.mark.parametrize(("fluctuation", "persistence"), [(0.0, 0.0), (1.0, 0.0), (0.0, 0.7)])
    def test_three_in_a_row_hardly_ever_fall_by_chance(self, fluctuation, persistence):
        paths = [falls_in_a_row(simulated(seed, 20, 32, fluctuation, persistence)) for seed in range(60)]
        stopped = [sum(max(path) >= patience for path in paths) for patience in (1, 2, 3)]
        assert stopped[0] > 9  # one noisy comparison in each epoch is not enough
        assert stopped[2] <= 8
        if not fluctuation and not persistence:
            assert stopped[2] <= 1

    def test_a_true_fall_is_seen(self):
        paths = [falls_in_a_row(simulated(seed, 13, 32, 0.0, fall=(10, 0.2))) for seed in range(40)]
        assert sum(path[-1] >= 3 for path in paths) >= 38

    def test_a_path_is_that_of_the_decisions(self):
        made = simulated(1, 12, 8, 2.0, 0.7)
        path = falls_in_a_row(made, num_previous=3)
        assert path == [has_fallen(made[: end + 1], num_previous=3).in_a_row for end in range(12)]
        assert max(path) > 0
