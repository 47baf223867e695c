"""The shortcut alarm on hand-made rows: each cause is raised where it should be, and by nothing less."""

import math
from dataclasses import replace

import pytest
import torch

from lightning_xai import ShortcutAlarm
from lightning_xai.metrics import FaithfulnessSkill, InsertionDeletion, PointingGame, RelevanceMassAccuracy, Sparseness
from lightning_xai.probing import Explained, ExplainedEpoch
from lightning_xai.probing.decisions.shortcut import shortcut_decisions
from lightning_xai.probing.validation import Accuracy

IMAGES = 16
METRICS = {
    "faithfulness": InsertionDeletion(),
    "faithfulness_skill": FaithfulnessSkill(),
    "relevance_mass_accuracy": RelevanceMassAccuracy(),
    "pointing_game": PointingGame(),
    "sparseness": Sparseness(),
}
RIGHT, UNSURE = Accuracy(0.95, 400, 0.25), Accuracy(0.7, 400, 0.25)
BESIDE = {"object": (0.1, 0.11, 0.25)}
WAVE = torch.linspace(-1.0, 1.0, IMAGES)


def around(mean, spread, shift=0):
    """Rows with that mean, and a standard deviation of about ``spread``; another order for another ``shift``."""
    return mean + spread * (WAVE.roll(3 * shift) * 1.6)


def epoch(
    number=0,
    *,
    accuracy=RIGHT,
    gain=0.3,
    skill=0.7,
    mass=0.5,
    pointing=0.8,
    areas=None,
    count=IMAGES,
    names=tuple(METRICS),
    spread=0.05,
):
    """An explained epoch; ``areas`` maps names to shares of the heat, of the image, and of a heatmap of the centre."""
    means = {
        "faithfulness": gain + 0.1,
        "faithfulness_skill": skill,
        "relevance_mass_accuracy": mass,
        "pointing_game": pointing,
        "sparseness": 0.5,
    }
    areas = areas or {}
    rows = {name: around(means[name], spread, number)[:count] for name in names}
    if "faithfulness_skill" in rows:  # what the heatmap scores, the control and the reference
        rows["faithfulness_skill"] = torch.stack([rows["faithfulness_skill"], torch.zeros(count), torch.ones(count)], 1)
    found = Explained(
        keys=torch.arange(count),
        labels=torch.zeros(count, dtype=torch.int64),
        target=torch.zeros(count, dtype=torch.int64),
        predicted=torch.zeros(count, dtype=torch.int64),
        probabilities=torch.zeros(count, 0),
        rows={"cam": rows},
        control_rows={"faithfulness": torch.full((count,), 0.1)} if "faithfulness" in names else {},
        metrics={name: METRICS[name] for name in names},
        heat_shares={"cam": {name: around(heat, 0.04, number)[:count] for name, (heat, _, _) in areas.items()}},
        chance_shares={
            kind: {name: torch.full((count,), shares[place]) for name, shares in areas.items()}
            for place, kind in ((1, "area"), (2, "center"))
        },
        accuracy=accuracy,
    )
    return ExplainedEpoch(number, 10 * number, "fit", {}, {0: found})


def run_of(epochs, **settings):
    return [epoch(number, **settings) for number in range(epochs)]


def raised(epochs, **settings):
    decisions = shortcut_decisions(epochs, ShortcutAlarm(**settings), "cam")
    return [one.cause for one in decisions if one.raised]


def reason(epochs, cause, **settings):
    decisions = shortcut_decisions(epochs, ShortcutAlarm(**settings), "cam")
    return next(one.reason for one in decisions if one.cause == cause)


class TestApart:
    """Accuracy rises, and a score falls."""

    @staticmethod
    def fall(name, low, count=3, before=UNSURE, since=RIGHT):
        early = [epoch(i, accuracy=before) for i in range(4)]
        return early + [epoch(4 + i, accuracy=since, **{name: low}) for i in range(count)]

    @pytest.mark.parametrize(
        ("name", "low", "cause"),
        [
            ("gain", 0.1, "apart/faithfulness_gain"),
            ("skill", 0.4, "apart/faithfulness_skill"),
            ("pointing", 0.4, "apart/pointing_game"),
        ],
    )
    def test_each_score(self, name, low, cause):
        assert raised(self.fall(name, low)) == [cause]
        assert raised(self.fall(name, low, count=2)) == []
        assert raised(self.fall(name, low, count=2), patience=2) == [cause]

    def test_the_reason_has_the_numbers(self):
        text = reason(self.fall("gain", 0.1), "apart/faithfulness_gain")
        assert text.startswith("faithfulness_gain: -0.200 ± 0.0")
        assert "from the mean of 4 explanations before" in text
        assert text.endswith("in epochs 4, 5, 6, while accuracy rose from 0.700 ± 0.023 to 0.950 ± 0.011")

    def test_a_fall_within_two_errors_is_none(self):
        epochs = self.fall("gain", 0.295)
        differences = epochs[-1].loaders[0].rows["cam"]["faithfulness"] - torch.stack(
            [one.loaders[0].rows["cam"]["faithfulness"] for one in epochs[:4]]
        ).mean(0)
        error = float(differences.std()) / math.sqrt(IMAGES)
        assert -2 * error < float(differences.mean()) < 0
        assert raised(epochs) == []

    def test_accuracy_must_rise_by_more_than_two_errors(self):
        before = Accuracy(0.93, 400, 0.25)
        assert RIGHT.value - before.value < 2 * math.hypot(before.error, RIGHT.error)
        assert raised(self.fall("gain", 0.1, before=before)) == []
        assert "and accuracy has not risen" in reason(self.fall("gain", 0.1, before=before), "apart/faithfulness_gain")
        assert raised(self.fall("gain", 0.1, before=RIGHT, since=UNSURE)) == []
        many = (Accuracy(one.value, 40_000, 0.25) for one in (before, RIGHT))
        assert raised(self.fall("gain", 0.1, before=next(many), since=next(many))) == ["apart/faithfulness_gain"]

    def test_an_accuracy_that_nobody_knows_raises_nothing(self):
        assert raised(self.fall("gain", 0.1, before=None, since=None)) == []

    def test_images_without_a_score_do_not_count(self):
        def with_gaps(one, defined):
            rows = {name: values.clone() for name, values in one.loaders[0].rows["cam"].items()}
            rows["pointing_game"][defined:] = torch.nan
            return replace(one, loaders={0: replace(one.loaders[0], rows={"cam": rows})})

        assert raised([with_gaps(one, 8) for one in self.fall("pointing", 0.4)]) == ["apart/pointing_game"]
        assert raised([with_gaps(one, 7) for one in self.fall("pointing", 0.4)]) == []

    def test_another_probe_is_not_compared(self):
        epochs = self.fall("gain", 0.1)
        moved = [
            replace(one, loaders={0: replace(one.loaders[0], keys=torch.arange(IMAGES) + 99)}) for one in epochs[:4]
        ]
        assert raised([*moved, *epochs[4:]]) == []

    def test_without_a_pointing_game_the_mass_stands_for_localization(self):
        names = ("faithfulness", "relevance_mass_accuracy")
        early = [epoch(i, accuracy=UNSURE, names=names) for i in range(4)]
        assert raised([*early, *(epoch(4 + i, mass=0.2, names=names) for i in range(3))]) == [
            "apart/relevance_mass_accuracy"
        ]

    def test_what_is_no_such_score_may_fall(self):
        causes = {one.cause for one in shortcut_decisions(run_of(1), ShortcutAlarm(), "cam")}
        assert causes == {"apart/pointing_game", "apart/faithfulness_gain", "apart/faithfulness_skill"}


class TestObject:
    """Right and faithful, but not on the object."""

    def test_raised_and_told(self):
        assert raised(run_of(3, areas=BESIDE)) == ["object"]
        text = reason(run_of(3, areas=BESIDE), "object")
        assert text == (
            "the model is right and its heat is faithful, but not on the object: accuracy 0.950 ± 0.011 on 400 images, "
            "faithfulness_gain 0.300 ± 0.013, 0.100 ± 0.010 of the heat on the object, which is 0.110 of the image (a "
            "heatmap of the centre has 0.250 there), 3 explanations in a row"
        )

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"areas": {"object": (0.14, 0.11, 0.12)}}, "above the area, by three errors"),
            ({"areas": {"object": (0.14, 0.15, 0.11)}}, "above the centre, by three errors"),
            ({"accuracy": Accuracy(0.55, 100, 0.25)}, "half of the images"),
            ({"accuracy": Accuracy(0.9, 400, 0.92)}, "what the most frequent class gives"),
            ({"accuracy": None}, "unknown"),
            ({"gain": 0.02}, "a gain within two errors"),
            ({"gain": -0.3}, "no gain"),
        ],
    )
    def test_not_raised(self, changed, why):
        assert raised(run_of(3, **{"areas": BESIDE, **changed})) == [], why

    def test_chance_is_left_by_two_errors_only(self):
        assert raised(run_of(3, areas={"object": (0.12, 0.11, 0.12)})) == ["object"]

    def test_few_images_that_show_nothing_raise_none(self):
        def wide(one, spread):
            rows = {"cam": {"object": around(0.12, spread, one.epoch)}}
            return replace(one, loaders={0: replace(one.loaders[0], heat_shares=rows)})

        error = float(around(0.0, 1.0).std()) / IMAGES**0.5
        for share_of_the_way, causes in ((0.9, ["object"]), (1.1, [])):  # to where two errors reach twice the area
            spread = share_of_the_way * (2 * 0.11 - 0.12) / 2 / error
            assert raised([wide(one, spread) for one in run_of(3, areas=BESIDE)]) == causes

    def test_patience(self):
        epochs = run_of(4, areas=BESIDE)
        assert raised(epochs[:2]) == []
        assert raised(epochs[:2], patience=2) == ["object"]
        on_it = epoch(1, areas={"object": (0.6, 0.11, 0.25)})
        assert raised([epochs[0], on_it, *epochs[2:]]) == []
        assert reason([epochs[0], on_it, *epochs[2:]], "object").endswith("2 explanations in a row")

    def test_images_without_object_or_heat_are_left_out(self):
        def with_gaps(one, gaps):
            found = one.loaders[0]
            rows = found.heat_shares["cam"]["object"].clone()
            rows[::2] = torch.nan
            rows[:gaps] = torch.nan
            return replace(one, loaders={0: replace(found, heat_shares={"cam": {"object": rows}})})

        epochs = run_of(3, areas=BESIDE)
        assert raised([with_gaps(one, 0) for one in epochs]) == ["object"]
        assert raised([with_gaps(one, 2) for one in epochs]) == []


class TestBorderAndNuisance:
    """Right and faithful, but on what must not matter."""

    @pytest.mark.parametrize("area", ["border", "regions/tag"])
    def test_beyond_its_share(self, area):
        assert raised(run_of(3, areas={area: (0.3, 0.23, 0.1)}), nuisance="tag") == [area]
        assert raised(run_of(3, areas={area: (0.24, 0.23, 0.1)}), nuisance="tag") == []  # within two errors
        assert raised(run_of(3, areas={area: (0.1, 0.23, 0.1)}), nuisance="tag") == []
        assert raised(run_of(3, areas={area: (0.3, 0.23, 0.1)}, gain=0.0), nuisance="tag") == []
        assert raised(run_of(2, areas={area: (0.3, 0.23, 0.1)}), nuisance="tag") == []

    def test_the_reason_names_it(self):
        text = reason(run_of(3, areas={"regions/tag": (0.3, 0.05, 0.1)}), "regions/tag", nuisance=["tag"])
        assert "too much on the tag" in text
        assert text.endswith(
            "0.300 ± 0.010 of the heat on the tag, which is 0.050 of the image, 3 explanations in a row"
        )

    def test_only_what_is_named(self):
        assert raised(run_of(3, areas={"regions/tag": (0.3, 0.05, 0.1)})) == []


def test_nothing_is_judged_of_few_images():
    assert shortcut_decisions(run_of(3, areas=BESIDE, count=7), ShortcutAlarm(), "cam") == []
    assert shortcut_decisions(run_of(3, areas=BESIDE, count=8), ShortcutAlarm(), "cam") != []


def test_nothing_is_judged_of_an_explainer_or_a_loader_that_is_not_there():
    epochs = run_of(3, areas=BESIDE)
    assert shortcut_decisions(epochs, ShortcutAlarm(), "other") == []
    assert shortcut_decisions(epochs, ShortcutAlarm(), "cam", 1) == []
    assert shortcut_decisions([], ShortcutAlarm(), "cam") == []
    without = replace(epochs[-1], loaders={})
    assert shortcut_decisions([*epochs, without], ShortcutAlarm(), "cam") == []


def test_what_is_long_past_is_forgotten():
    epochs = run_of(60, areas=BESIDE)
    assert reason(epochs, "object").endswith("50 explanations in a row")
    assert raised(epochs, patience=60) == ["object"]
    fall = [*run_of(4, accuracy=UNSURE, gain=0.6), *(epoch(number) for number in range(4, 60))]
    assert "apart/faithfulness_gain" in raised(fall[:49])
    assert raised(fall) == []


def test_without_a_gain_heat_is_not_known_to_be_faithful():
    names = ("pointing_game", "sparseness")
    epochs = run_of(3, areas=BESIDE, names=names)
    assert [one.cause for one in shortcut_decisions(epochs, ShortcutAlarm(), "cam")] == ["apart/pointing_game"]


def test_epochs_of_an_old_checkpoint_have_no_shares():
    epochs = run_of(3, areas=BESIDE)
    found = epochs[1].loaders[0]
    old = replace(epochs[1], loaders={0: replace(found, heat_shares={}, chance_shares={}, accuracy=None)})
    assert raised([epochs[0], old, epochs[2]]) == []
