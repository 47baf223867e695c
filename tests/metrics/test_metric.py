from __future__ import annotations

import math
from copy import deepcopy
from functools import partial

import pytest
import torch
from torchmetrics import MetricCollection

from lightning_xai.evidence import Case, Logits
from lightning_xai.metrics import DeletionAUC, ExplanationMetric, InsertionAUC, standard_error

NAN = math.nan


class MeanHeat(ExplanationMetric):
    """A user's own metric, with nothing but what must be there."""

    higher_is_better = True

    def score(self, case):
        means = case.heatmaps.mean((1, 2))
        return torch.where(means >= 0, means, NAN)


def _of(values, target=None):
    """Return a metric with these values, NaN where undefined, added in one update."""
    metric = MeanHeat()
    metric.update(heatmaps=torch.tensor(values).nan_to_num(-1.0)[:, None, None], target=target)
    return metric


class RatioOfSums(ExplanationMetric):
    """Keeps two numbers per image, as HAAS will; the value is the ratio of their sums."""

    higher_is_better = True
    range = (0.0, 10.0)

    def score(self, case):
        return case.heatmaps[:, 0, :2]

    def aggregate(self, rows):
        return rows[:, 0].sum() / rows[:, 1].sum() if len(rows) else rows.new_tensor(NAN)


def test_facts_of_a_users_metric():
    assert (MeanHeat.alias, MeanHeat.key, MeanHeat.family) == ("mean_heat", "mean_heat", "custom")
    assert MeanHeat.range == (-math.inf, math.inf)
    assert (MeanHeat.plot_lower_bound, MeanHeat.plot_upper_bound) == (None, None)
    metric = MeanHeat()
    metric.update(heatmaps=torch.tensor([[[1.0, 3.0]], [[5.0, 7.0]]]))
    assert metric.compute().item() == 4.0
    assert metric.standard_error().item() == pytest.approx(2.0)


def test_bounds_are_inherited_with_the_range():
    class Mine(InsertionAUC):
        pass

    assert Mine.range == (0.0, 1.0)
    assert (Mine.plot_lower_bound, Mine.plot_upper_bound) == (0.0, 1.0)
    assert Mine.key == "mine"


def test_an_aggregate_of_its_own():
    heatmaps = torch.rand(6, 1, 2) + 0.5
    metric = RatioOfSums()
    for part in heatmaps.split(2):
        metric.update(heatmaps=part, target=1)
    assert metric.rows.shape == (6, 2)
    ratio = heatmaps[:, 0, 0].sum() / heatmaps[:, 0, 1].sum()
    assert metric.compute().item() == pytest.approx(ratio.item())
    left_out = torch.stack(
        [h[:, 0, 0].sum() / h[:, 0, 1].sum() for h in (heatmaps[torch.arange(6) != i] for i in range(6))]
    )
    jackknife = (5 / 6 * (left_out - left_out.mean()).square().sum()).sqrt()
    assert metric.standard_error().item() == pytest.approx(jackknife.item(), rel=1e-4)
    assert metric.per_class()[1].item() == pytest.approx(ratio.item())


def test_one_row_of_several_numbers_keeps_its_shape():
    metric = RatioOfSums()
    metric.update(heatmaps=torch.tensor([[[1.0, 2.0]]]))
    assert metric.rows.tolist() == [[1.0, 2.0]]
    metric.update(heatmaps=torch.tensor([[[NAN, 2.0]]]).nan_to_num(3.0))
    assert metric.rows.tolist() == [[1.0, 2.0], [3.0, 2.0]]


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([1.0, 3.0], 1.0),
        ([1.0, 3.0, NAN, NAN], 1.0),
        ([2.0, 2.0, 2.0], 0.0),
        ([1.0], NAN),
        ([NAN, NAN], NAN),
        ([1.0, NAN], NAN),
        ([], NAN),
        ([1.0, 2.0, 3.0, 4.0], math.sqrt(5 / 3) / 2),
    ],
)
def test_standard_error_by_hand(rows, error):
    assert standard_error(torch.tensor(rows)).item() == pytest.approx(error, nan_ok=True)


def test_jackknife_of_the_mean_is_the_plain_standard_error():
    rows = torch.randn(20, 1)
    found = standard_error(torch.cat([rows, torch.full((3, 1), NAN)]), lambda r: r[:, 0].mean())
    assert found.item() == pytest.approx(standard_error(rows[:, 0]).item(), rel=1e-4)


def test_undefined_images_are_left_out_and_counted():
    metric = _of([1.0, NAN, 3.0, NAN], torch.tensor([0, 0, 1, 2]))
    assert metric.compute().item() == 2.0
    assert metric.undefined == 2
    per_class = {label: value.item() for label, value in metric.per_class().items()}
    assert per_class == pytest.approx({0: 1.0, 1: 3.0, 2: NAN}, nan_ok=True)


def test_defined_for_no_image():
    metric = _of([NAN, NAN])
    assert math.isnan(metric.compute())
    assert metric.undefined == 2


def test_rows_without_a_class_belong_to_none():
    metric = _of([1.0, 2.0])
    metric.update(heatmaps=torch.full((1, 1, 1), 3.0), target=4)
    assert {label: value.item() for label, value in metric.per_class().items()} == {4: 3.0}
    assert metric.compute().item() == 2.0


def test_an_update_after_compute_counts():
    metric = _of([1.0])
    assert metric.compute().item() == 1.0
    metric.update(heatmaps=torch.full((1, 1, 1), 3.0))
    assert metric.compute().item() == 2.0


def test_rows_and_classes_are_copies():
    rows, target = torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([0, 1])

    class Itself(MeanHeat):
        def score(self, case):
            return case.heatmaps[:, 0, 0]

    metric = Itself()
    metric.update(heatmaps=rows, target=target)
    rows.fill_(9.0)
    target.fill_(9)
    assert metric.rows.tolist() == [1.0, 2.0]
    assert set(metric.per_class()) == {0, 1}


def test_scores_of_double_precision_become_float32():
    class Double(MeanHeat):
        def score(self, case):
            return super().score(case).double()

    metric = Double()
    metric.update(heatmaps=torch.ones(2, 1, 1))
    assert metric.rows.dtype == metric.compute().dtype == torch.float32


def test_default_dtype_does_not_matter():
    torch.set_default_dtype(torch.float64)
    try:
        metric = MeanHeat()
        metric.update(heatmaps=torch.ones(2, 1, 1))
        assert metric.compute().dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_collection_keeps_settings_apart_although_the_first_rows_coincide():
    """A constant model has one curve for every setting, by which torchmetrics groups the metrics of a collection."""
    images, heatmaps = torch.rand(4, 1, 4, 4), torch.rand(4, 4, 4)
    constant = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    torch.nn.init.zeros_(constant[1].weight)
    trained = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    alone = {"four": DeletionAUC(4), "sixteen": DeletionAUC(16), "insertion": InsertionAUC(16), "again": DeletionAUC(4)}
    together = MetricCollection({name: metric.clone() for name, metric in alone.items()})
    for model in (constant, trained):
        given = {"model": model, "images": images, "heatmaps": heatmaps, "target": 1}
        together.update(**given)
        for metric in alone.values():
            metric.update(**given)
    groups = sorted(sorted(names) for names in together.compute_groups.values())
    assert groups == [["again", "four"], ["insertion"], ["sixteen"]]
    assert together.compute() == {name: metric.compute() for name, metric in alone.items()}


def test_a_case_replaces_the_arguments():
    heatmaps = torch.rand(3, 2, 2)
    one, other = MeanHeat(), MeanHeat()
    one.update(case=Case(heatmaps=heatmaps, target=1))
    other.update(heatmaps=heatmaps, target=1)
    assert torch.equal(one.rows, other.rows)
    assert one.per_class() == other.per_class()


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="heatmap"):
        MeanHeat().update(heatmap=torch.rand(1, 2, 2))
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `num_step`"):
        InsertionAUC(num_step=3)


def test_arguments_of_torchmetrics_pass_through():
    assert InsertionAUC(sync_on_compute=False).sync_on_compute is False


def test_state_survives_a_failed_update():
    metric = MeanHeat()
    metric.update(heatmaps=torch.ones(2, 1, 1))
    with pytest.raises(ValueError, match="finite"):
        metric.update(heatmaps=torch.full((2, 1, 1), NAN))
    assert metric.rows.tolist() == [1.0, 1.0]


def test_merging_states_of_two_metrics():
    one, other = MeanHeat(), MeanHeat()
    one.update(heatmaps=torch.ones(2, 1, 1))
    other.update(heatmaps=torch.zeros(1, 1, 1))
    one.merge_state(other)
    assert one.compute().item() == pytest.approx(2 / 3)


class TestEvidenceOfAUsersMetric:
    @staticmethod
    def reads(metric):
        return set(metric.evidence), metric.all_inputs, metric.evaluations()

    def test_every_place_for_it(self):
        class OfInstance(MeanHeat):
            def __init__(self):
                super().__init__()
                self.logits = Logits()

        class OfClass(MeanHeat):
            logits = Logits()

        class Inherited(OfClass):
            pass

        class Listed(MeanHeat):
            def __init__(self):
                super().__init__()
                self.several = [Logits()]

        class Tuple(MeanHeat):
            evidence = (Logits(),)

        class Property(MeanHeat):
            @property
            def evidence(self):
                return (Logits(),)

        expected = {Logits()}, frozenset({"heatmaps", "model", "images"}), Logits().evaluations()
        for kind in (OfInstance, OfClass, Inherited, Listed, Tuple, Property):
            assert self.reads(kind()) == expected, kind

    def test_one_where_all_are_listed(self):
        said = r"to keep what it reads under a name of its own.*but got `evidence` = Logits\(\)"
        with pytest.raises(TypeError, match=f"Expected OfClass {said}"):

            class OfClass(MeanHeat):
                evidence = Logits()

        class OfInstance(MeanHeat):
            def __init__(self):
                super().__init__()
                self.evidence = Logits()

        class Property(MeanHeat):
            @property
            def evidence(self):
                return Logits()

        class Argument(MeanHeat):
            def __init__(self, evidence):
                super().__init__()
                self.evidence = evidence

        for make in (OfInstance, lambda: Property().needs, lambda: Argument(Logits())):
            with pytest.raises(TypeError, match=said):
                make()


class Setting(MeanHeat):
    """Has one setting of any kind."""

    def __init__(self, setting):
        super().__init__()
        self.setting = setting


def scaled_by(factor):
    return lambda images: images * factor


def named(images, factor=1):
    return images * factor


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 2),
        (1, 1.5),
        ("a", "b"),
        ([1, 2], [2, 1]),
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(3), torch.zeros(4)),
        (torch.zeros(3), torch.zeros(3, dtype=torch.bfloat16) + 1),
        ([torch.zeros(2)], [torch.ones(2)]),
        (lambda images: images * 0, lambda images: images),
        (scaled_by(1), scaled_by(2)),
        (scaled_by(torch.zeros(2)), scaled_by(torch.ones(2))),
        (partial(named, factor=1), partial(named, factor=2)),
        (named, scaled_by),
        (MeanHeat(), RatioOfSums()),
    ],
)
def test_two_settings_have_two_representations(first, second):
    assert repr(Setting(first)) != repr(Setting(second))
    assert Setting(first).settings() != Setting(second).settings()
    assert repr(Setting(first)) == repr(Setting(deepcopy(first)))
    assert " at 0x" not in repr(Setting(first))
