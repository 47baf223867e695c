"""What a comparison finds: by hand, beside the metrics alone, with failures, and what it refuses."""

import math

import pytest
import torch

from lightning_xai import (
    Comparison,
    GradCAM,
    InsertionDeletion,
    Normalized,
    PointingGame,
    RandomHeatmap,
    Readout,
    Saliency,
    Sample,
    ShapesDataset,
)
from tests._nets import ConvNet
from tests.comparison._made import IMAGES, AsIs, Broken, Counted, Mirrored, TopLeft, evaluations_of, marked_images

CONTROLS = ("random_heatmap", "fake_cam", "center_heatmap")


def by_hand():
    explainers = {"a": AsIs(), "b": Mirrored()}
    return Comparison({"m": Counted()}, {"d": marked_images()}, explainers, [PointingGame(), TopLeft()]).run()


def row(records, **where):
    (found,) = records.where(**where)
    return found


class TestByHand:
    """Two explainers, two metrics, four images: pointing 1 0 1 0 and 0 1 0 0, first pixel 4 1 5 .5 and 1 3 0 0."""

    def test_means_and_errors(self):
        mean = by_hand().mean()
        hits_a, hits_b = (row(mean, explainer=e, metric="pointing_game") for e in "ab")
        assert (hits_a["value"], hits_b["value"]) == (0.5, 0.25)
        assert hits_a["error"] == pytest.approx(math.sqrt(1 / 3) / 2, abs=1e-6)
        assert hits_b["error"] == pytest.approx(0.25, abs=1e-6)
        assert [row(mean, explainer=e, metric="top_left")["value"] for e in "ab"] == [2.625, 1.0]
        assert {r["images"] for r in mean} == {4}
        assert [row(mean, explainer="fake_cam", metric=m)["value"] for m in ("pointing_game", "top_left")] == [0.0, 0.0]

    def test_spread_and_accuracy(self):
        table = by_hand()
        heat = row(table.spread(), explainer="a", metric="top_left")  # 4 1 5 .5
        assert (heat["min"], heat["median"], heat["max"], heat["images"]) == (0.5, 2.5, 5.0, 4)
        assert heat["std"] == pytest.approx(math.sqrt((1.375**2 + 1.625**2 + 2.375**2 + 2.125**2) / 3))
        hits = row(table.spread(), explainer="b", metric="pointing_game")  # 0 1 0 0
        assert (hits["std"], hits["min"], hits["median"], hits["max"]) == (0.5, 0.0, 0.0, 1.0)
        accuracy = row(table.accuracy(), model="m")  # the greatest pixels are 0 1 0 3
        assert (accuracy["value"], accuracy["error"], accuracy["images"]) == (0.75, 0.25, 4)

    def test_paired_differences(self):
        table = by_hand()
        hits = row(table.difference(to="a"), explainer="b", metric="pointing_game")  # -1 1 -1 0
        assert hits["value"] == -0.25
        assert hits["error"] == pytest.approx(math.sqrt(11 / 12) / 2, abs=1e-6)
        assert hits["better"] is False
        heat = row(table.difference(to="a"), explainer="b", metric="top_left")  # -3 2 -5 -.5: 3 of 16 signs are as far
        assert (heat["value"], heat["p"], heat["better"], heat["images"]) == (-1.625, 0.375, True, 4)
        assert heat["low"] < -1.625 < heat["high"]

    def test_ranks(self):
        table = by_hand()
        ranks = {(r["explainer"], r["metric"]): r["rank"] for r in table.ranks(controls=False)}
        assert ranks == {
            ("a", "pointing_game"): 1.0,
            ("b", "pointing_game"): 2.0,
            ("a", "top_left"): 2.0,
            ("b", "top_left"): 1.0,
            ("a", "mean rank"): 1.5,
            ("b", "mean rank"): 1.5,
        }
        with_controls = row(table.ranks(), explainer="fake_cam", metric="top_left")
        assert with_controls["rank"] == 1.0

    def test_verdict(self):
        table = by_hand()
        found = row(table.verdicts(), metric="top_left")
        random_map = RandomHeatmap()(Counted(), IMAGES, torch.arange(4))[:, 0, 0].tolist()
        centre = table.mean().where(explainer="center_heatmap", metric="top_left")[0]["value"]
        own = {"a": [4, 1, 5, 0.5], "b": [1, 3, 0, 0]}
        wins = [
            [(x < y) + (x == y) / 2 for x in (own["a"][i], own["b"][i]) for y in (random_map[i], 0.0, centre)]
            for i in range(4)
        ]
        assert found["probability"] == pytest.approx(sum(map(sum, wins)) / 24)
        assert found["marked"] is True
        assert "fooled by" in found["why"]
        assert "fake_cam" in found["why"]

    def test_tidy_rows(self):
        lines = by_hand().to_csv().splitlines()
        header = "model,data,transform,target_rule,explainer,metric,image,key,id,label,target,predicted,probability"
        assert lines[0] == f"{header},column,value"
        assert len(lines) == 1 + 5 * 2 * 4
        first = lines[1].split(",")
        assert first[:7] == ["m", "d", "none", "label", "a", "pointing_game", "0"]
        assert first[8:12] == ["a", "0", "0", "0"]
        assert float(first[12]) == pytest.approx(torch.tensor([4.0, 1.0, 0.0, 2.0]).softmax(0)[0].item())
        assert first[13:] == ["0", "1.0"]


def test_values_are_those_of_the_metric_alone():
    data = ShapesDataset(6, num_classes=4)
    images, labels = torch.stack([data[i]["image"] for i in range(6)]), data.labels
    net = ConvNet().eval()
    table = Comparison(
        net, data, {"cam": GradCAM(), "scaled": Normalized(GradCAM(), "max_abs")}, InsertionDeletion()
    ).run()
    (setting,) = table.settings
    for name, explainer in table.explainers_by_name.items():
        metric = InsertionDeletion()
        span = float(images.min()), float(images.max())
        metric.update(
            model=net, images=images, target=labels, heatmaps=explainer(net, images, labels), value_range=span
        )
        torch.testing.assert_close(table.of(setting, name, "faithfulness").rows, metric.rows, rtol=0, atol=1e-6)
        assert table.estimate(setting, name, "faithfulness").value == pytest.approx(float(metric.compute()), abs=1e-6)
    assert table.ties()[0]["explainers"] == "cam = scaled"
    cam, scaled = (row(table.ranks(), explainer=e, metric="mean rank")["rank"] for e in ("cam", "scaled"))
    assert cam == scaled


def test_the_model_is_left_as_it_was():
    net = ConvNet().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    Comparison(net, ShapesDataset(4), "grad_cam", "sparseness").run()
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_heatmaps_are_made_once_and_evidence_is_shared():
    explainers = {"a": AsIs(), "gradient": Saliency()}
    metrics = ["average_drop", "average_increase", "average_gain"]
    table, seen = evaluations_of(Comparison(Counted(), marked_images(), explainers, metrics).run)
    cells = 5
    assert seen == 4 * (1 + cells + 1)  # logits once, a masked image in each cell, one gradient
    costs = table.costs()
    assert row(costs, explainer="gradient", what="explaining")["evaluations"] == 1.0
    spent = [row(costs, explainer="gradient", what=m)["evaluations"] for m in table.metrics]
    assert sorted(spent) == [0.0, 0.0, 1.0]


def test_axes():
    other = Counted()
    other.scale.data.fill_(-1.0)

    def mirrored(sample):
        return Sample(sample.images.flip(-1), sample.labels, masks=sample.masks.flip(-1))

    comparison = Comparison(
        {"m": Counted(), "n": other},
        {"d": marked_images(), "e": marked_images()},
        {"a": AsIs(), "b": Mirrored(), "c": Normalized(AsIs(), "rank")},
        [TopLeft(), PointingGame()],
        targets=["predicted", "least_probable", 2],
        transforms={"none": None, "mirror": mirrored},
    )
    table = comparison.run()
    assert len(table.settings) == 2 * 2 * 2 * 3
    assert len(table.mean()) == 24 * 6 * 2
    first = {(s.model, s.transform, s.target): s for s in table.settings if s.data == "d"}
    facts = {place: table.of(setting, "a", "top_left").facts for place, setting in first.items()}
    assert facts["m", "none", "predicted"].target.tolist() == [0, 1, 0, 3]
    assert facts["n", "none", "least_probable"].target.tolist() == [0, 1, 0, 3]
    assert facts["m", "none", 2].target.tolist() == [2] * 4
    assert torch.equal(facts["m", "mirror", 2].keys, facts["m", "none", 2].keys)  # an image stays the same image
    plain, mirror = (table.of(first["m", how, 2], "a", "top_left").rows for how in ("none", "mirror"))
    assert plain.tolist() == [4.0, 1.0, 5.0, 0.5]
    assert mirror.tolist() == [1.0, 3.0, 0.0, 0.0]
    for between, pairs in (("models", 12), ("data", 12), ("transforms", 12), ("targets", 24), ("metrics", 24)):
        found = table.correlations(between, "kendall")
        assert len(found) == pairs * (1 if between == "metrics" else 2)
    models = table.correlations("models").where(data="d", transform="none", target=2)
    assert {r["correlation"] for r in models} == {1.0}  # these explainers do not ask the model


def test_images_of_several_sizes():
    data = [{"image": torch.rand(3, side, side), "label": side % 4} for side in (16, 24, 16)]
    table = Comparison(ConvNet(), {"d": data}, "grad_cam", "sparseness").run()
    (setting,) = table.settings
    facts = table.of(setting, "grad_cam", "sparseness").facts
    assert facts.labels.tolist() == [0, 0, 0]
    alone = Comparison(ConvNet(), {"d": data[1:2]}, "random_heatmap", "sparseness").run()
    of_random = [row(one.mean(), explainer="random_heatmap") for one in (table, alone)]
    assert [found["images"] for found in of_random] == [3, 1]
    among, by_itself = (one.of(one.settings[0], "random_heatmap", "sparseness").rows for one in (table, alone))
    assert among[1] == by_itself[0]


def test_multilabel_and_binary_models():
    labels = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    table = Comparison(Counted(), Sample(IMAGES, labels=labels), {"a": AsIs()}, "average_drop").run()
    facts = next(iter(table.values.values())).facts
    assert all(labels[i, facts.target[i]] == 1 for i in (0, 1, 3))
    assert facts.probabilities.tolist() == pytest.approx(IMAGES.flatten(1).sigmoid()[range(4), facts.target].tolist())
    one = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
    table = Comparison(
        one, marked_images(), {"a": AsIs()}, "average_drop", "predicted", readout=Readout("binary")
    ).run()
    assert not table.failures


def test_what_fails_leaves_its_reason_and_the_rest_goes_on():
    def no_model():
        raise OSError("no such file")

    models = {"m": Counted(), "gone": no_model}
    table = Comparison(models, {"d": marked_images()}, {"a": AsIs(), "x": Broken()}, ["average_drop", TopLeft()]).run()
    reasons = {(f.cell.setting.model, f.cell.explainer, f.metric): f.reason for f in table.errors}
    assert reasons["m", "x", "top_left"] == "RuntimeError: no such layer"
    assert reasons["gone", "a", "average_drop"] == "OSError: no such file"
    assert len(reasons) == 2 + 5 * 2 + 0
    assert row(table.mean(), model="m", explainer="a", metric="top_left")["value"] == 2.625
    text = table.to_markdown()
    assert "average_drop, top_left failed for x: RuntimeError: no such layer" in text
    assert "gone · d · target=label" in text


def test_one_metric_that_fails_costs_only_itself():
    class Fails(TopLeft):
        def score(self, case):
            raise ZeroDivisionError("by zero")

    table = Comparison(Counted(), marked_images(), {"a": AsIs()}, {"bad": Fails(), "good": TopLeft()}).run()
    assert {f.reason for f in table.errors} == {"ZeroDivisionError: by zero"}
    assert {f.metric for f in table.errors} == {"bad"}
    assert {metric for _, metric in table.values} == {"good"}


def test_metrics_of_objects_need_annotated_data():
    plain = Sample(IMAGES, labels=torch.arange(4))
    table = Comparison(Counted(), {"d": plain}, {"a": AsIs()}, ["pointing_game", "sparseness"]).run()
    assert not table.errors
    assert {f.reason for f in table.failures} == {"the data 'd' have no masks"}
    assert table.controls == CONTROLS[:2]
    assert "pointing_game: left out, because the data 'd' have no masks." in table.to_markdown()
    with pytest.raises(ValueError, match=r"^Expected `metrics` of which some apply to the data"):
        Comparison(Counted(), plain, {"a": AsIs()}, "pointing_game").run()


def test_controls():
    table = Comparison(Counted(), marked_images(), [AsIs(), RandomHeatmap(grid=2, seed=5)], "sparseness").run()
    assert table.explainers == ("as_is", "random_heatmap", "fake_cam", "center_heatmap")
    assert table.controls == CONTROLS
    assert repr(table.explainers_by_name["random_heatmap"]) == "RandomHeatmap(grid=2, seed=5)"


def test_chosen_images():
    data = ShapesDataset(40, num_classes=4)
    table = Comparison(ConvNet(), data, "grad_cam", "sparseness", num_images=8).run()
    labels = next(iter(table.values.values())).facts.labels
    assert labels.bincount().tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"explainers": "grad_camm"}, ValueError, r"Did you mean 'grad_cam'\?"),
        ({"metrics": "sparsenes"}, ValueError, r"Did you mean 'sparseness'\?"),
        (
            {"metrics": "heatmap_drift"},
            ValueError,
            "^Expected `metrics` of one explainer's heatmaps, but heat",
        ),
        ({"metrics": "explainer_agreement"}, ValueError, "^Expected `metrics` of one explainer's heatmaps"),
        (
            {"explainers": GradCAM(target_layer=torch.nn.ReLU())},
            TypeError,
            "^Expected `target_layer` of GradCAM as the",
        ),
        (
            {"explainers": Normalized(GradCAM(target_layer=[torch.nn.ReLU()]))},
            TypeError,
            "^Expected `target_layer` of G",
        ),
        ({"targets": "labels"}, ValueError, r"Did you mean 'label'\?"),
        ({"targets": []}, ValueError, "^Expected `targets` to hold at least one rule"),
        (
            {"transforms": {"turn": 90}},
            TypeError,
            "^Expected `transforms` to hold transforms, functions of a Sample",
        ),
        ({"transforms": {}}, ValueError, "^Expected `transforms` to hold at least one"),
        ({"num_images": 0}, ValueError, "^Expected `num_images` to be >= 1"),
        (
            {"models": [Counted(), Counted()]},
            ValueError,
            "^Expected `models` with different names, but got two",
        ),
        ({"models": {}}, ValueError, "^Expected `models` to hold at least one model"),
        ({"models": {"m": 3}}, TypeError, "^Expected each of `models` to be a module, a function"),
        ({"data": []}, ValueError, "^Expected `data` to hold images, but got none"),
        ({"output": "s3://bucket/out"}, ValueError, "^Expected `output` to be a local or mounted folder"),
    ],
    ids=str,
)
def test_what_is_refused(arguments, error, text):
    given = {"models": Counted(), "data": marked_images(), "explainers": "saliency", "metrics": "sparseness"}
    with pytest.raises(error, match=text):
        Comparison(**(given | arguments))


def test_default_metrics_are_those_of_the_monitor():
    comparison = Comparison(Counted(), marked_images(), "saliency")
    assert {"faithfulness", "pointing_game", "max_sensitivity"} <= set(comparison.metrics)
    assert "heatmap_drift" not in comparison.metrics
