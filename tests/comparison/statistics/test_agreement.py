"""How much heatmaps agree: by hand beside scipy, beside the metric between explainers, over batches and files."""

import math
from dataclasses import replace
from itertools import combinations
from typing import ClassVar

import pytest
import torch
from scipy import stats
from torch import nn

from lightning_xai import Comparison, GradCAM, Normalized, Sample
from lightning_xai.comparison import FGSM
from lightning_xai.functional import explainer_agreement
from tests.comparison._made import IMAGES, AsIs, Counted, Mirrored, TopLeft, marked_images


class Weighted(nn.Module):
    """Pixels times weights of its own are the logits."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x):
        return x.flatten(1) * self.weights


class ByWeights(AsIs):
    """The model's weights where the image has its greatest pixel, which differ from model to model."""

    def explain(self, classifier, images, target):
        return images[:, 0] * classifier.model.weights.detach().view(2, 2)


def only(records, **where):
    (found,) = records.where(**where)
    return found


def spearman(first, second):
    """The naive way; None where a side is constant."""
    a, b = first.flatten().tolist(), second.flatten().tolist()
    return None if len(set(a)) == 1 or len(set(b)) == 1 else float(stats.spearmanr(a, b).statistic)


def mean_and_error(values):
    known = [v for v in values if v is not None]
    mean = sum(known) / len(known)
    spread = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1))
    return mean, spread / math.sqrt(len(known)), len(values) - len(known)


class TestExplainers:
    """The image, the same mirrored, and the same through a rank, on four images of 2 × 2 pixels."""

    def table(self, **options):
        explainers = {"a": AsIs(), "b": Mirrored(), "c": Normalized(AsIs(), "rank")}
        return Comparison(Counted(), marked_images(), explainers, TopLeft(), **options).run()

    def test_pairs(self):
        table = self.table()
        found = table.agreement()
        assert len(found) == math.comb(6, 2) + 6
        maps = {"a": IMAGES[:, 0], "b": IMAGES[:, 0].flip(-1), "c": IMAGES[:, 0]}  # the ranks of `c` are those of `a`
        for first, second in combinations("abc", 2):
            value, error, undefined = mean_and_error(
                [spearman(*pair) for pair in zip(maps[first], maps[second], strict=True)]
            )
            row = only(found, first=first, second=second)
            assert (row["value"], row["error"]) == pytest.approx((value, error), abs=1e-6)
            assert (row["undefined"], row["images"], row["model"], row["explainer"]) == (undefined, 4, "counted", "")

    def test_all_others_are_the_metric(self):
        maps = {"a": IMAGES[:, 0], "b": IMAGES[:, 0].flip(-1), "c": Normalized(AsIs(), "rank")(Counted(), IMAGES, 0)}
        found = self.table().agreement()
        for name in maps:
            others = {other: values for other, values in maps.items() if other != name}
            expected = explainer_agreement(heatmaps=maps[name], other_heatmaps=others)
            assert only(found, first=name, second="all others")["value"] == pytest.approx(
                expected.mean().item(), abs=1e-6
            )

    def test_one_method_counts_once_among_the_others(self):
        explainers = {"a": AsIs(), "same": Normalized(AsIs(), "max_abs"), "b": Mirrored()}
        table = Comparison(Counted(), marked_images(), explainers, TopLeft()).run()
        found = table.agreement()
        assert not found.where(first="a", second="all others")  # only `b` is left
        with_a = only(found, first="a", second="b")["value"]
        both = only(found, first="b", second="all others") if found.where(first="b", second="all others") else None
        assert both is None
        assert only(found, first="same", second="b")["value"] == pytest.approx(with_a)
        fake = only(found, first="fake_cam", second="all others")["value"]
        pairs = [only(found, first=one, second="fake_cam")["value"] for one in ("a", "b")]
        assert fake == pytest.approx(sum(pairs) / 2, abs=1e-6)

    def test_constant_heatmaps_are_undefined(self):
        data = Sample(torch.cat([IMAGES, torch.ones(1, 1, 2, 2)]), labels=torch.zeros(5, dtype=torch.int64))
        table = Comparison(Counted(), data, {"a": AsIs(), "b": Mirrored()}, TopLeft()).run()
        row = only(table.agreement(), first="a", second="b")
        assert (row["undefined"], row["images"]) == (1, 5)

    def test_from_files_as_from_memory(self, tmp_path):
        pytest.importorskip("pyarrow")
        for _ in range(2):  # computed, and found
            assert self.table(output=tmp_path).agreement().to_csv() == self.table().agreement().to_csv()

    def test_ssim(self):
        found = self.table().agreement(by="ssim")
        assert only(found, first="a", second="b")["value"] < 1.0
        assert found.title == "structural similarity of the heatmaps of two explainers"


class TestModels:
    weights: ClassVar = {"m": [1.0, 1.0, 1.0, 1.0], "n": [1.0, 8.0, -1.0, 1.0], "o": [-1.0, -1.0, -1.0, -1.0]}

    def table(self, **options):
        models = {name: Weighted(weights) for name, weights in self.weights.items()}
        return Comparison(models, {"d": marked_images()}, {"w": ByWeights()}, TopLeft(), **options).run()

    def test_matrix(self):
        found = self.table().agreement("models").where(explainer="w")
        maps = {name: IMAGES[:, 0] * torch.tensor(w).view(2, 2) for name, w in self.weights.items()}
        by_image = {}
        for first, second in combinations("mno", 2):
            by_image[first, second] = [spearman(*pair) for pair in zip(maps[first], maps[second], strict=True)]
            row = only(found, first=first, second=second)
            assert (row["value"], row["error"]) == pytest.approx(mean_and_error(by_image[first, second])[:2], abs=1e-6)
            assert (row["model"], row["data"], row["target"]) == ("", "d", "label")
        assert only(found, first="m", second="o")["value"] == pytest.approx(-1.0)
        together = [(a + b) / 2 for a, b in zip(by_image["m", "n"], by_image["n", "o"], strict=True)]
        row = only(found, first="n", second="all others")
        assert (row["value"], row["error"]) == pytest.approx(mean_and_error(together)[:2], abs=1e-6)

    def test_controls_look_at_no_model(self):
        found = self.table().agreement("models")
        assert {row["value"] for row in found.where(explainer="fake_cam")} == {1.0}
        assert {round(row["value"], 5) for row in found.where(explainer="random_heatmap")} == {1.0}

    def test_each_rule_and_transform_by_itself(self):
        def brighter(sample):
            return replace(sample, images=sample.images + 1.0)

        table = self.table(targets=["label", "predicted"], transforms={"none": None, "brighter": brighter})
        found = table.agreement("models").where(explainer="w", second="n")
        assert {(row["transform"], row["target"]) for row in found} == {
            (how, rule) for how in ("none", "brighter") for rule in ("label", "predicted")
        }
        same_rule = table.agreement("targets").where(explainer="w", transform="none")
        assert {(row["model"], row["first"], row["second"], row["value"]) for row in same_rule} == {
            (name, "label", "predicted", 1.0) for name in "mno"
        }

    def test_images_that_were_attacked_are_not_the_same(self):
        table = self.table(transforms={"none": None, "fgsm": FGSM(0.1)}, targets=["label", "predicted"])
        assert {row["transform"] for row in table.agreement("models")} == {"none"}
        assert {row["transform"] for row in table.agreement("targets")} == {"none", "fgsm"}

    def test_a_model_that_fails_is_left_out(self):
        def no_model():
            raise OSError("no such file")

        models = {"m": Weighted(self.weights["m"]), "gone": no_model, "o": Weighted(self.weights["o"])}
        table = Comparison(models, {"d": marked_images()}, {"w": ByWeights()}, TopLeft()).run()
        (row,) = table.agreement("models").where(explainer="w")
        assert (row["first"], row["second"]) == ("m", "o")

    def test_batches_of_several_sizes_stay_in_order(self):
        torch.manual_seed(0)
        data = [{"image": torch.rand(1, side, 8), "label": 0} for side in (8, 9, 8, 9, 8)]

        class Row(AsIs):
            def explain(self, classifier, images, target):
                return images[:, 0] * classifier.model.sign

        class Sum(nn.Module):
            def __init__(self, sign):
                super().__init__()
                self.register_buffer("sign", torch.tensor(sign))

            def forward(self, x):
                return torch.stack([x.sum((1, 2, 3)) * self.sign, x[:, 0, 0, 0]], 1)

        table = Comparison({"m": Sum(1.0), "n": Sum(-1.0)}, {"d": data}, {"r": Row(), "b": Mirrored()}, TopLeft()).run()
        by_model = {one.place[-1]: one for one in table.agreements("models", "spearman")}
        assert by_model["r"].of("n", "m").tolist() == pytest.approx([-1.0] * 5)
        first = next(one for one in table.agreements("explainers", "spearman") if one.place[0] == "m")
        expected = [spearman(item["image"], item["image"].flip(-1)) for item in data]
        assert first.of("r", "b").tolist() == pytest.approx(expected, abs=1e-6)


def test_what_is_refused():
    table = Comparison(Counted(), marked_images(), {"a": AsIs()}, TopLeft()).run()
    with pytest.raises(ValueError, match=r"^Expected `between` to be one of 'explainers', 'models', 'targets'"):
        table.agreement("epochs")
    with pytest.raises(ValueError, match=r"^Expected `by` to be one of 'spearman', 'ssim'"):
        table.agreement(by="pearson")
    with pytest.raises(ValueError, match=r"^Expected a table with an `archive`"):
        replace(table, archive=None).agreement()
    with pytest.raises(ValueError, match=r"^Expected at least two models with heatmaps"):
        table.plot("agreement", between="models")


def test_a_part_of_the_table():
    comparison = Comparison(
        {"m": Counted(), "n": Counted()},
        {"d": marked_images()},
        {"a": AsIs(), "b": Mirrored()},
        [TopLeft(), "sparseness"],
    )
    table = comparison.run()
    part = table.only(models="m", explainers=["b"], metrics="top_left")
    assert part.explainers == ("b", "random_heatmap", "fake_cam", "center_heatmap")
    assert [str(setting) for setting in part.settings] == ["m · d · target=label"]
    assert list(part.mean()) == [r for r in table.mean().where(model="m", metric="top_left") if r["explainer"] != "a"]
    assert {row["first"] for row in part.agreement()} == {"b", "random_heatmap", "fake_cam"}
    assert list(table.only().mean()) == list(table.mean())
    with pytest.raises(ValueError, match=r"^Expected `models` to be one of 'm', 'n', but got 'o'"):
        table.only(models=["m", "o"])
    with pytest.raises(ValueError, match=r"^Expected `metrics` to hold at least one of"):
        table.only(metrics=[])


def test_grad_cam_of_one_network_trained_on():
    """Checkpoints of one training: the metric that a comparison refuses is this question."""
    torch.manual_seed(0)
    nets = {}
    for name in ("early", "late"):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        nets[name] = net
    images, labels = torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 2])
    table = Comparison(nets, {"d": Sample(images, labels)}, GradCAM(), "sparseness").run()
    early, late = (GradCAM()(net, images, labels) for net in nets.values())
    value, error, undefined = mean_and_error([spearman(*pair) for pair in zip(early, late, strict=True)])
    row = only(table.agreement("models"), explainer="grad_cam")
    assert (row["value"], row["error"], row["undefined"]) == pytest.approx((value, error, undefined), abs=1e-5)
