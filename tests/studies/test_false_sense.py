"""The study of "Saliency Maps Give a False Sense of Explanability": its declaration, its predicates by hand, a run."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import stats
from torch import nn

from lightning_xai import FakeCAM, MaxSensitivity, Normalized, Saliency
from lightning_xai.comparison import Cell, CellValues, ComparisonTable, ImageFacts, Setting
from lightning_xai.explainers import get_explainer
from lightning_xai.metrics import get_metric
from lightning_xai.studies import Findings, Network, Study
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.declaration import folder_of, read_declaration
from lightning_xai.studies.false_sense.families import best_family, family_ahead, ranks_among
from lightning_xai.studies.false_sense.figures import metric_correlations, ranks_of_one
from lightning_xai.studies.false_sense.forced_completeness import ForcedCompleteness
from lightning_xai.studies.false_sense.mismatch import mismatched_sensitivity
from lightning_xai.studies.false_sense.network import early_halving_resnet
from lightning_xai.studies.false_sense.probability import follows_more, follows_probability, mean_rho
from lightning_xai.studies.false_sense.spread import alike, relative_quartile_range, steadiest, varies_more
from lightning_xai.studies.false_sense.targets import shifted
from lightning_xai.studies.false_sense.values import resampled_means
from lightning_xai.studies.judging.contrast import resampled
from lightning_xai.studies.reporting.printed import read_printed
from lightning_xai.studies.training.trained_networks import TrainedNetworks

FOLDER = folder_of("false_sense")
SCALES = ("small", "medium", "paper")
ORDER = ["Fake-CAM", "Gradient", "IG", "GuidedBP", "Grad-CAM", "Grad-CAM++", "Score-CAM", "RISE", "LIME", "IBA"]


class Squares(torch.utils.data.Dataset):
    """Images of 24×24 pixels with noise and a bright square, on the left in class 0, on the right in class 1."""

    def __init__(self, num_images=64):
        self.labels = torch.arange(num_images) % 2
        self.images = 0.3 * torch.rand(num_images, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        for place, label in enumerate(self.labels):
            self.images[place, :, 6:18, 12 * label : 12 * label + 10] += 0.6

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": self.labels[index]}


def made(values, probabilities=None):
    """Return findings of part ``p``: (model, transform, target, explainer, metric) -> values of the images."""
    found = {}
    for (model, transform, target, explainer, metric), rows in values.items():
        count = len(rows)
        zeros = torch.zeros(count, dtype=torch.int64)
        of_class = torch.ones(count) if probabilities is None else torch.tensor(probabilities)
        facts = ImageFacts(zeros, (None,) * count, zeros, zeros, zeros, of_class)
        cell = Cell(Setting(model, "d", transform, target), explainer)
        found[cell, metric] = CellValues(torch.tensor(rows), facts)
    explainers = {key[3]: get_explainer("grad_cam") for key in values}
    metrics = {key[4]: get_metric(key[4]) for key in values}
    networks = {key[0]: Network(key[0], key[0].partition("-s")[0], 0) for key in values}
    return Findings({"p": ComparisonTable(found, {}, metrics, explainers, controls=())}, networks)


def simple(by_explainer, metric="average_increase", **settings):
    return made({("m", "none", "label", name, metric): rows for name, rows in by_explainer.items()}, **settings)


@pytest.mark.parametrize("scale", SCALES)
def test_tables_and_claims_name_what_the_scale_computes(scale, tmp_path):
    study = Study.load("false_sense", scale, data=tmp_path, download=False)
    for table in study.tables:
        part = study.parts[table.part]
        assert set(table.chosen["metric"]) == set(part.metrics)
        assert set(table.chosen["explainer"]) - {"random_heatmap"} == set(part.explainers)
        if part.transforms:
            assert set(table.chosen["transform"]) == set(part.transforms)
        rows = {row for row, _ in study.printed.get(table.printed or table.name, {})}
        if rows and table.part != "photographs":
            assert rows == set(ORDER) <= set(table.chosen["explainer"].values())
    for claim in study.claims:
        (part,) = (study.parts[name] for name in claim.parts)
        metrics = claim.arguments.get("metric") or list(claim.arguments["within"])
        named = [*metrics] if isinstance(metrics, list) else [metrics]
        than = claim.arguments.get("than", [])
        if claim.predicate.endswith(("steadiest", "follows_more")):
            named += [than] if isinstance(than, str) else than
        assert set(named) <= set(part.metrics)
        kinds = claim.arguments.get("transforms", {})
        assert sorted(name for kind in kinds.values() for name in kind) == sorted(
            part.transforms or {} if kinds else []
        )


def test_the_paper_scale_needs_its_data_and_may_not_download(tmp_path):
    with pytest.raises(ValueError, match="pass --data"):
        Study.load("false_sense", "paper")
    declared = read_declaration(FOLDER, "paper", {"data": tmp_path, "download": True})
    assert declared["parts"]["canvases"]["models"]["resnet50"]["init_args"] == {"name": "resnet50", "download": True}
    (images,) = (one["init_args"]["images"] for one in declared["parts"]["transforms"]["data"].values())
    assert images == f"{tmp_path}/ilsvrc/val"


def test_the_paper_scale_reads_validation_images_in_folders_by_class(tmp_path):
    for place, synset in enumerate(("n01440764", "n01443537", "n01484850")):
        (tmp_path / "ilsvrc" / "val" / synset).mkdir(parents=True)
        picture = Image.fromarray(np.full((256, 320, 3), 60 * place, dtype=np.uint8))
        picture.save(tmp_path / "ilsvrc" / "val" / synset / f"ILSVRC2012_val_0000000{place + 1}.JPEG", format="JPEG")
    part = Study.load("false_sense", "paper", data=tmp_path, limit=3).parts["canvases"]
    stand_in = {"class_path": "lightning_xai.studies.false_sense.network.early_halving_resnet"}
    part = replace(
        part,
        models={"resnet50": {**stand_in, "init_args": {"num_classes": 1000, "width": 4}}},
        explainers={name: part.explainers[name] for name in ("gradient", "grad_cam", "fake_cam")},
        metrics={name: part.metrics[name] for name in ("average_drop", "average_gain")},
    )
    table = part.run(TrainedNetworks(tmp_path / "networks"), None, progress=False)
    assert table.errors == ()
    (setting,) = table.settings
    facts = table.of(setting, "fake_cam", "average_gain").facts
    assert sorted(facts.labels.tolist()) == [0, 1, 2]  # as torchvision numbers them: in the order of the synsets
    assert table.estimate(setting, "fake_cam", "average_drop").value < 1


def test_printed_numbers_agree_with_what_the_paper_says_of_them():
    printed = read_printed(FOLDER / "printed.csv")
    assert {name: len(table) for name, table in printed.items()} == {
        "table_1": 60, "table_2": 150, "table_3": 50, "table_4": 200,
    }  # fmt: skip
    first = {column: [printed["table_1"][row, column].value for row in ORDER] for _, column in printed["table_1"]}
    for column in ("AI", "100−AD", "Monotonicity"):  # "ranks in the top two for AI/AD/Monotonicity" (132)
        assert sorted(first[column], reverse=True).index(first[column][0]) < 2
    assert min(first["100−D"]) == first["100−D"][0]
    for column, values in first.items():  # the same ground truth, but for a digit
        if column != "Monotonicity":
            again = [printed["table_2"][row, f"ground truth · {column}"].value for row in ORDER]
            assert [place for place, pair in enumerate(zip(values, again, strict=True)) if pair[0] != pair[1]] == (
                [2] if column == "I" else []
            )
    rho = partial(stats.spearmanr, first["AI"])
    assert [round(rho(first[column]).statistic, 2) for column in ("100−AD", "AG", "100−D")] == [0.98, 0.78, -0.27]
    assert all(
        one.note for place, one in printed["table_3"].items() if place in {("Fake-CAM", "MS"), ("Fake-CAM", "AS")}
    )


def test_the_small_network_takes_any_size():
    network = early_halving_resnet(10, width=4).eval()
    assert [network(torch.zeros(2, 3, side, side)).shape for side in (33, 48)] == [torch.Size([2, 10])] * 2
    assert network.layer2(network.layer1(network.conv1(torch.zeros(1, 3, 48, 48)))).shape[2:] == (6, 6)


def test_completeness_of_what_does_not_promise_it():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    net[1].weight.data = torch.ones(1, 2)
    given = {"model": net, "images": torch.tensor([[[[1.0, 3.0]]]]), "target": 1}
    for tolerance, complete in ((0.24, 0.0), (0.26, 1.0)):  # the heat sums to 3, the logit rises by 4: missed by .25
        metric = ForcedCompleteness(tolerance)
        metric.update(heatmaps=torch.tensor([[[2.0, 1.0]]]), explainer=FakeCAM(), **given)
        assert float(metric.compute()) == complete
    with pytest.raises(ValueError, match="promise completeness"):
        get_metric("completeness").update(heatmaps=torch.tensor([[[2.0, 1.0]]]), explainer=FakeCAM(), **given)


def test_means_and_statistics_over_images_that_are_drawn_again():
    drawn = torch.Generator().manual_seed(1)
    values = torch.rand(3, 5, generator=drawn, dtype=torch.float64)
    values[1, 2] = math.nan
    places = torch.randint(5, (7, 5), generator=drawn)
    assert torch.allclose(resampled_means(values, places), values[:, places].nanmean(2))
    squares = [lambda p, row=row: row[p].square().mean(1) for row in values[[0, 2]]]
    one = resampled("x", [(5, squares[0])])
    assert one.value == pytest.approx(float(values[0].square().mean()))
    assert one.low < one.value < one.high
    two = resampled("x", [(5, one) for one in squares])
    means = [float(values[row].square().mean()) for row in (0, 2)]
    between = stats.t.interval(0.95, 1, np.mean(means), stats.sem(means))
    assert two.value == pytest.approx(np.mean(means))
    assert two.low <= between[0] + 1e-12
    assert two.trainings == 2


def test_a_family_ahead_of_another():
    rows = {"a": [60.0, 80.0, 70.0], "b": [50.0, 90.0, 80.0], "c": [10.0, 0.0, 20.0], "d": [0.0, 30.0, math.nan]}
    rows = {name: 2 * one for name, one in rows.items()}
    verdict = family_ahead(simple(rows), "p", ["average_increase"], ["a", "b"], ["c", "d"])
    assert verdict.outcome == "supported"
    assert f"{(50 + 70 + 55) / 3:+.3g}" in verdict.why  # of each image: 55 − 5, 85 − 15, 75 − 20
    assert family_ahead(simple(rows), "p", ["average_increase"], ["c", "d"], ["a", "b"]).outcome == "contradicted"
    lower = simple(rows, metric="average_drop")
    assert family_ahead(lower, "p", ["average_drop"], ["c", "d"], ["a", "b"]).outcome == "supported"


def test_the_family_with_the_best_mean_rank():
    means = torch.tensor([[[3.0], [1.0], [3.0], [math.nan], [2.0]]])
    expected = stats.rankdata([-3, -1, -3, np.nan, -2], nan_policy="omit")
    assert np.allclose(ranks_among(means).flatten(), expected, equal_nan=True)
    rows = {"a": [60.0, 80.0] * 3, "b": [55.0, 78.0] * 3, "c": [10.0, 0.0] * 3, "d": [0.0, 30.0] * 3}
    ask = partial(best_family, simple(rows), "p", ["average_increase"])
    assert ask(["a", "b"], {"others": ["c", "d"]}).outcome == "supported"  # ranks 1 and 2 against 3 and 4
    assert "+2 " in ask(["a", "b"], {"others": ["c", "d"]}).why
    assert ask(["c"], {"first": ["a"], "second": ["d"]}).outcome == "contradicted"


def test_following_the_probability():
    probabilities = [0.1, 0.2, 0.4, 0.5, 0.7, 0.9, 0.95, 0.99]
    rows = {"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "b": [1.0, 3.0, 2.0, 4.0, 6.0, 5.0, 8.0, 7.0]}
    findings = simple(rows, probabilities=probabilities)
    ask = partial(follows_probability, findings, "p", ["average_increase"], ["a", "b"])
    expected = np.mean([stats.spearmanr(row, probabilities).statistic for row in rows.values()])
    assert ask().outcome == "supported"
    assert f"{expected:+.3g}" in ask().why
    assert ask(positive=False).outcome == "contradicted"
    holes = torch.tensor([[1.0, math.nan, 5.0, 2.0, 7.0]])
    of_images = torch.tensor([0.1, 0.9, 0.5, 0.6, 0.8])
    known = stats.spearmanr([1, 5, 2, 7], [0.1, 0.5, 0.6, 0.8]).statistic
    assert float(mean_rho(holes, of_images, torch.arange(5)[None])[0]) == pytest.approx(known)
    both = {("m", "none", "label", "a", "average_increase"): rows["a"]}
    both[("m", "none", "label", "a", "average_gain")] = [4.0, 1.0, 8.0, 3.0, 2.0, 7.0, 5.0, 1.5]
    more = follows_more(made(both, probabilities), "p", "average_increase", "average_gain", ["a"])
    assert more.outcome == "supported"


def test_changes_with_the_class_that_is_explained():
    rows = {"label": [50.0, 60.0, 40.0, 55.0], "predicted": [52.0, 61.0, 43.0, math.nan]}
    findings = made({("m", "none", rule, "a", "average_drop"): one for rule, one in rows.items()})
    ask = partial(shifted, findings, "p", ["a"], "predicted", "label")
    assert ask({"average_drop": [-5, 5]}).outcome == "supported"  # 2, 1 and 3 more: in its own direction
    assert "+2 " in ask({"average_drop": [-5, 5]}).why
    assert ask({"average_drop": [-5, 1.5]}).outcome == "undecided"
    assert ask({"average_drop": [-math.inf, 0]}).outcome == "contradicted"


def test_values_that_are_alike():
    means = torch.tensor([[0.96], [0.93], [0.95], [1.22], [0.92], [0.93], [0.93], [0.93], [0.93], [0.91]])
    quartiles = np.quantile(means.numpy(), [0.25, 0.5, 0.75])
    expected = (quartiles[2] - quartiles[0]) / quartiles[1]
    assert float(relative_quartile_range(means)[0]) == pytest.approx(expected)
    near = {name: [10.0 + place, 11.0 + place] * 3 for place, name in enumerate("abcd")}
    assert alike(simple(near), "p", ["average_increase"], list("abcd"), within=0.5).outcome == "supported"
    assert alike(simple(near), "p", ["average_increase"], list("abcd"), within=0.01).outcome == "contradicted"


def moved_by_transforms():
    values = {}
    for transform, of_a, of_b, gain in (("t", 10.0, 50.0, 1.0), ("u", 20.0, 50.5, 2.0), ("v", 90.0, 52.0, 1.0)):
        values |= {
            ("m", transform, "label", "a", "average_increase"): [of_a, of_a + 1] * 3,
            ("m", transform, "label", "b", "average_increase"): [of_b, of_b + 1] * 3,
            ("m", transform, "label", "a", "average_gain"): [gain] * 6,
        }
    return made(values)


def test_methods_and_metrics_that_transforms_move():
    kinds = {"first": ["t", "u"], "second": ["v"]}
    ask = partial(varies_more, moved_by_transforms(), "p", ["average_increase"], transforms=kinds)
    found = ask(explainers=["a"], than=["b"])
    assert found.outcome == "supported"
    # means 15.5 and 90.5 against 50.75 and 52.5 move by 75/√2 and 1.75/√2
    assert f"{(75 - 1.75) / math.sqrt(2):+.3g}" in found.why
    assert ask(explainers=["b"], than=["a"]).outcome == "contradicted"
    least = partial(steadiest, moved_by_transforms(), "p", explainers=["a"], transforms=kinds)
    assert least(metric="average_gain", than=["average_increase"]).outcome == "supported"
    assert least(metric="average_increase", than=["average_gain"]).outcome == "contradicted"


def tiny(folder):
    """Write the declaration with small images, small counts and no photographs, and return its folder."""
    declared = yaml.safe_load((FOLDER / "study.yaml").read_text())
    data = {"class_path": "tests.studies.test_false_sense.Squares"}
    recipe = declared["recipes"]["resnet"]
    recipe |= {"train": data, "test": data, "epochs": [2], "batch_size": 16}
    recipe["network"]["init_args"] = {"num_classes": 2, "width": 4}
    for part in declared["parts"].values():
        part |= {"num_images": 3, "data": {"canvases": data}}
        for name, settings in (("rise", {"num_masks": 8}), ("lime", {"num_samples": 8}), ("iba", {"num_steps": 2})):
            if name in part["explainers"]:
                one = part["explainers"][name]
                part["explainers"][name] = {"class_path": one["class_path"], "init_args": settings}
    del declared["parts"]["photographs"], declared["tables"]["table_1_photographs"]
    declared["claims"] = {name: one for name, one in declared["claims"].items() if "photographs" not in name}
    declared["scales"] = {"small": {}}
    written = folder / "false_sense"
    written.mkdir()
    (written / "study.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    (written / "printed.csv").write_text((FOLDER / "printed.csv").read_text())
    return written


def test_a_run_from_the_network_to_the_report(tmp_path):
    only = ["table_1", "table_completeness", "figure_1", "figure_2", "C004.2", "C004.9"]
    study = Study.load(tiny(tmp_path), only=only)
    result = study.run(tmp_path / "out", device="cpu", progress=False)
    assert result.errors == ()
    first = {row[0]: row[1:] for row in result.table("table_1").rows}
    assert list(first) == [*ORDER, "random 7×7"]
    assert first["Fake-CAM"][1].split(" | ")[1] == "99.2"  # 100−AD of the paper
    assert float(first["Fake-CAM"][1].split(" ")[0]) > 90
    assert first["random 7×7"][0].endswith("| – | –")
    assert result.table("table_1").columns[2] == "100−AD ↑"
    assert result.verdicts["C004.9"].outcome in {"supported", "undecided", "contradicted"}
    report = result.write(tmp_path / "out").read_text()
    assert "swapped" in report
    assert (tmp_path / "out" / "figure_1.png").is_file()


def test_figures_show_the_papers_numbers_beside_ours():
    words = Study.load("false_sense").tables[0].chosen["explainer"]
    metrics = {"average_increase": "AI", "insertion_auc": "I", "sparseness": "not in the paper"}
    names = [name for name, word in words.items() if word in ORDER]  # Fake-CAM first, and worst here
    findings = made(
        {
            ("m", "none", "label", name, metric): [float(place), place + 1.0]
            for place, name in enumerate(names)
            for metric in metrics
        }
    )
    (axes,) = ranks_of_one(findings, "p", "fake_cam", words, metrics).axes
    points = [(float(line.get_xdata()[0]), line.get_marker()) for line in axes.lines if line.get_marker() in {"o", "D"}]
    assert points == [(10.0, "o"), (2.0, "D"), (10.0, "o"), (7.0, "D"), (10.0, "o")]
    left, right = metric_correlations(findings, "p", words, metrics).axes
    assert [text.get_text() for text in left.texts] == ["1.00"] * 9
    assert [text.get_text() for text in right.texts] == ["1.00", "0.75", "0.75", "1.00"]


def test_the_sensitivity_of_mismatched_methods(tmp_path):
    study = Study.load(tiny(tmp_path))
    part = study.parts["robustness"]
    explainers = {name: part.explainers[name] for name in ("fake_cam", "gradient")}
    three = {"class_path": "tests.studies.test_false_sense.Squares", "init_args": {"num_images": 3}}
    part = replace(part, explainers=explainers, data={"squares": three}, num_images=None)
    kept = TrainedNetworks(tmp_path / "networks")
    (trained,) = part.trained()
    kept.prepare({"resnet": trained.recipe})
    found = mismatched_sensitivity(
        AnalysisContext(kept, study.recipes, {"p": part}, Findings({})), "p", ["fake_cam", "gradient"], 0.05, 2
    )
    by_method = {row[0]: row[1:] for row in found.rows}
    images = torch.stack([Squares()[place]["image"] for place in range(3)])
    target, ours = Squares().labels[:3], FakeCAM()(nn.Flatten(), images, 0)
    network, gradient = kept.network(trained.recipe, 2), Normalized(Saliency())
    metric, ends = MaxSensitivity(0.05, 2), (float(images.min()), float(images.max()))
    metric.update(model=network, images=images, heatmaps=ours, explainer=gradient, target=target, value_range=ends)
    assert by_method["fake_cam"][0] == pytest.approx(float(metric.compute()), rel=1e-4)
    assert by_method["fake_cam"][0] > 0.3  # by itself Fake-CAM has 0
