"""What the alarm asks about a heatmap: shares of heat by hand, and its settings."""

import pytest
import torch

from lightning_xai import Case, Classifier, ShortcutAlarm
from lightning_xai.explainers import CenterHeatmap
from lightning_xai.metrics import DeletionAUC, InsertionDeletion, PointingGame, Sparseness
from lightning_xai.probing import Answers, Keys, Plan, Sample
from lightning_xai.probing.explained import joined
from tests.metrics._harness import SIZE, tiny_net


def case_of(size=4, masks=None):
    images = torch.zeros(2, 3, size, size)
    return Case(tiny_net(), images, torch.tensor([0, 1]), masks=masks)


class TestShares:
    def test_by_hand(self):
        heat = torch.tensor(
            [[[6.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, -9.0]], torch.zeros(4, 4).tolist()]
        )
        masks = torch.zeros(2, 4, 4, dtype=torch.bool)
        masks[:, 1:3, 1:3] = True
        tag = torch.zeros(2, 4, 4, dtype=torch.bool)
        tag[0, 0, :2] = True  # the second image has none
        alarm = ShortcutAlarm(nuisance="tag")
        found, chance = alarm.shares(case_of(masks=masks), {"cam": heat}, {"tag": tag, "other": tag}, annotated=True)
        told = {name: rows.tolist() for name, rows in found["cam"].items()}
        assert told["object"][0] == pytest.approx(0.4)
        assert told["border"][0] == pytest.approx(0.6)  # a pixel wide; negative heat does not count
        assert told["regions/tag"][0] == pytest.approx(0.6)
        assert all(rows[1].isnan() for rows in found["cam"].values())  # no heat
        assert chance["area"]["object"].tolist() == [0.25, 0.25]
        assert chance["area"]["border"].tolist() == [0.75, 0.75]
        assert chance["area"]["regions/tag"][0] == 0.125
        assert chance["area"]["regions/tag"][1].isnan()
        center = CenterHeatmap()(tiny_net(), torch.zeros(1, 3, 4, 4), target=0)[0]
        expected = float(center[1:3, 1:3].sum() / center.sum())
        assert chance["center"]["object"].tolist() == pytest.approx([expected] * 2)

    def test_the_object_is_no_border(self):
        masks = torch.zeros(2, 4, 4, dtype=torch.bool)
        masks[:, 0] = True
        heat = torch.ones(2, 4, 4)
        alarm = ShortcutAlarm()
        found, chance = alarm.shares(case_of(masks=masks), {"cam": heat}, None, annotated=True)
        assert found["cam"]["border"].tolist() == chance["area"]["border"].tolist() == [0.5, 0.5]

    def test_without_annotations_there_is_no_object(self):
        found, chance = ShortcutAlarm().shares(case_of(), {"cam": torch.ones(2, 4, 4)}, None, annotated=False)
        assert set(found["cam"]) == set(chance["area"]) == set(chance["center"]) == {"border"}
        none = ShortcutAlarm(border=False).shares(case_of(), {"cam": torch.ones(2, 4, 4)}, None, annotated=False)
        assert none == ({"cam": {}}, {"area": {}, "center": {}})

    @pytest.mark.parametrize(("regions", "listed"), [({"tags": None}, "'tags'"), (None, "none")])
    def test_a_nuisance_that_is_not_there(self, regions, listed):
        alarm = ShortcutAlarm(nuisance="tag")
        text = (
            rf"Expected `nuisance` of ShortcutAlarm to name regions of the data .* which are: {listed}, but got 'tag'\."
        )
        with pytest.raises(ValueError, match=text):
            alarm.shares(case_of(), {"cam": torch.ones(2, 4, 4)}, regions, annotated=False)


class TestPlan:
    def answers(self, alarm, **settings):
        plan = Plan("grad_cam", [InsertionDeletion(num_steps=2)], alarm=alarm, **settings)
        noise = torch.Generator().manual_seed(0)
        images = torch.rand(3, 3, *SIZE, generator=noise)
        masks = torch.zeros(3, *SIZE, dtype=torch.bool)
        masks[:2, 2:5, 2:5] = True
        labels = torch.tensor([0, 1, 2])
        classifier = Classifier(tiny_net())
        found = plan.answers(classifier, Sample(images, labels=labels, masks=masks), labels)
        return found, classifier.evaluations

    def test_shares_are_of_the_heatmaps_and_cost_no_evaluation(self):
        found, evaluations = self.answers(ShortcutAlarm())
        assert evaluations > 0
        without, as_many = self.answers(None)
        assert evaluations == as_many
        assert without.heat_shares == without.chance_shares == {}
        heat = found.heatmaps["grad_cam"].relu()
        expected = heat[:, 2:5, 2:5].sum((1, 2)) / heat.sum((1, 2))
        assert found.heat_shares["grad_cam"]["object"][:2].tolist() == pytest.approx(expected[:2].tolist())
        assert found.heat_shares["grad_cam"]["object"][2].isnan()  # not annotated

    def test_groups_of_several_sizes_are_joined(self):
        def answers(values):
            rows = torch.tensor(values)
            return Answers(
                torch.zeros(len(rows), 2),
                torch.zeros(len(rows), dtype=torch.int64),
                *({}, {}, {}, {}),
                heat_shares={"cam": {"border": rows}},
                chance_shares={"area": {"border": rows}, "center": {"border": rows}},
            )

        whole = joined([answers([0.1, 0.3]), answers([0.2])], [[0, 2], [1]])
        assert whole.heat_shares["cam"]["border"].tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert whole.chance_shares["center"]["border"].tolist() == pytest.approx([0.1, 0.2, 0.3])

    @pytest.mark.parametrize(
        ("metrics", "alarms"),
        [
            ("insertion_deletion", True),
            (None, True),
            ("pointing_game", True),
            ([], False),
            ([DeletionAUC(), Sparseness()], False),
        ],
    )
    def test_there_is_an_alarm_where_there_is_something_to_judge(self, metrics, alarms):
        plan = Plan("grad_cam", metrics, alarm=ShortcutAlarm())
        assert (plan.alarm is not None) is alarms
        assert ("xai/shortcut_alarm" in Keys(plan, "xai", 8).all(annotated=False)) is alarms

    def test_a_key_for_each_explainer_and_loader(self):
        plan = Plan(["grad_cam", "hires_cam"], [PointingGame()], alarm=ShortcutAlarm())
        keys = Keys(plan, "xai", 8).all(annotated=True, loaders=[0, 1])
        named = {name: key for name, key in keys.items() if "shortcut_alarm" in name}
        assert set(named) == {
            f"xai/{explainer}/shortcut_alarm/dataloader_idx_{i}"
            for explainer in ("grad_cam", "hires_cam")
            for i in (0, 1)
        }
        # a value that stands for one that is missing may not end a run
        assert {(key.worst, key.higher_is_better) for key in named.values()} == {(0.0, False)}


def test_settings():
    assert ShortcutAlarm() == ShortcutAlarm(patience=3, nuisance=[], border=True)
    assert ShortcutAlarm(nuisance=["a", "b"]).nuisance == ("a", "b")
    with pytest.raises(ValueError, match="`patience`"):
        ShortcutAlarm(patience=0)
    with pytest.raises(TypeError, match="`nuisance`"):
        ShortcutAlarm(nuisance=[3])
    with pytest.raises(ValueError, match="`nuisance`"):
        ShortcutAlarm(nuisance="=1+1")
