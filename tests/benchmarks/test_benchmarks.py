"""The benchmarks run and write what they say; how fast anything is, is not asked here."""

import io
import json
import runpy
import sys
from copy import deepcopy

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks import (
    cam_samples_cost,
    channel_error,
    cheaper_forwards,
    curve_error,
    curve_memory,
    forward_sizes,
    gradient_cost,
    memory,
    metric_throughput,
    perturbation_cost,
    sampling_error,
    suite_cost,
)
from benchmarks.__main__ import NAMES, main
from benchmarks.evaluations import evaluations, forwards
from benchmarks.live_bytes import peak_bytes
from benchmarks.map_error import errors
from benchmarks.setting import Setting
from benchmarks.timing import Spread, compare
from benchmarks.trained import Trained
from lightning_xai import RISE, Classifier


def test_a_quick_run_prints_a_table_and_writes_json(tmp_path, monkeypatch, capsys):
    out, allocators = tmp_path / "new" / "costs.json", []
    monkeypatch.setattr("lightning_xai.cli.allocator.keep_freed_memory", lambda: allocators.append("kept"))
    command = ["benchmarks", "--device", "cpu", "--quick", "--out", str(out), "--only", "probe_cost", "preserved_cost"]
    monkeypatch.setattr(sys, "argv", [*command, "--threads", str(torch.get_num_threads())])
    monkeypatch.delitem(sys.modules, "benchmarks.__main__")
    runpy.run_module("benchmarks", run_name="__main__")
    assert "target: at most 0.2 ms" in capsys.readouterr().out
    assert allocators == ["kept"]
    found = json.loads(out.read_text())
    assert found["environment"]["quick"] is True
    assert list(found["results"]) == ["probe_cost", "preserved_cost"]
    (row,) = found["results"]["probe_cost"]["rows"]
    assert row["images"] == 96
    assert 0 < row["cpu_ms"]["least"] <= row["cpu_ms"]["median"] <= row["cpu_ms"]["greatest"]


def test_unknown_names_are_refused_with_a_list(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "speed"])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert all(name in said for name in NAMES)


def test_the_cheapest_number_of_images_at_once_is_1():
    (row,) = forward_sizes.run(Setting(torch.device("cpu"), quick=True)).rows
    sizes = [row[str(size)] for size in (1, 2, 4, 8, 16, 32)]
    assert min(sizes) == 1
    assert (row["chosen"], row["cost"]) == (32, sizes[-1])


def test_counts_and_memory_keep_their_promises():
    setting = Setting(torch.device("cpu"), quick=True)
    memory = curve_memory.run(setting).rows
    assert [row["num_steps"] for row in memory] == [8, 32, 128]
    assert all(row["met"] for row in memory)
    without_skills, *counts = suite_cost.run(setting).rows
    assert without_skills["evaluations_per_image"] == 1 + 1 + 2 * 10 + 10 + 2 * 10 <= 56
    assert {row["evaluations_per_image"] for row in counts} == {52 + 49 + 2 * 10}
    assert all(row["met"] for row in [without_skills, *counts])


def test_memory_of_explainers_and_of_the_probe(monkeypatch):
    monkeypatch.setattr(memory, "list_explainers", lambda family=None: [] if family else ["grad_cam", "saliency"])
    monkeypatch.setattr(memory, "PROBES", (8, 12, 16))
    rows = memory.run(Setting(torch.device("cpu"), quick=True)).rows
    assert [(row["what"], row["images"]) for row in rows[:2]] == [("grad_cam", 8), ("saliency", 8)]
    assert 1 < rows[0]["ratio"] < rows[1]["ratio"] < 4
    assert [row["images"] for row in rows[2:]] == [8, 12, 16]
    assert [row.get("met") for row in rows[2:]] == [None, True, True]


def test_errors_of_curves_stand_beside_the_sampling_error(monkeypatch):
    torch.manual_seed(0)
    setting = Setting(torch.device("cpu"), quick=True)
    small = Trained("small", setting.model("small CNN"), torch.rand(4, 3, 16, 16), torch.arange(4), 0.5)
    monkeypatch.setattr(curve_error, "networks", lambda *_: [small])
    rows = {row["num_steps"]: row for row in curve_error.run(setting).rows}
    assert [rows[steps]["evaluations"] for steps in ("radau", 32, 16, 8)] == [40, 128, 64, 32]
    assert rows[32]["faithfulness_rms_share"] < rows[8]["faithfulness_rms_share"]
    for tolerance in (0.1, 0.01):
        row = rows[f"auto, {tolerance}"]
        assert 32 <= row["evaluations"] <= 4 * 224
        assert 0 <= row["beyond_bound"] <= 1


def small_network(images=4):
    torch.manual_seed(0)
    setting = Setting(torch.device("cpu"), quick=True)
    return setting, Trained(
        "small", setting.model("small CNN"), torch.rand(images, 3, 16, 16), torch.arange(images), 0.5
    )


def test_errors_of_sampled_maps_are_those_of_the_explainer(monkeypatch):
    setting, small = small_network(2)
    monkeypatch.setattr(sampling_error, "networks", lambda *_: [small])
    rows = {(row["sampling"], row["masks"]): row for row in sampling_error.run(setting).rows}
    assert {masks for _, masks in rows} == {128, 64, 32}
    assert {name for name, _ in rows} > {"independent", "orthogonal", "complements", "balanced cells", "Sobol"}
    assert rows["independent", 128]["as_many_independent"] == pytest.approx(128)
    assert rows["orthogonal", 128]["relative_rms"] < rows["independent", 128]["relative_rms"]
    assert rows["orthogonal", 128]["faithfulness_rms_share"] >= 0
    for way in (sampling_error._WAYS[0], sampling_error._WAYS[-1]):
        ((name, estimate),) = list(way.estimates.items())[:1]
        scores = sampling_error._Scores.of(small, way.draw(40, 3))
        rise = RISE(num_masks=40, seed=3, sampling=name)(Classifier(small.model), small.images, small.target)
        torch.testing.assert_close(estimate(*scores.first(40)).view(2, 16, 16), rise)


@pytest.mark.parametrize("way", sampling_error._WAYS, ids=lambda way: next(iter(way.estimates)))
def test_every_way_keeps_half_of_the_cells(way):
    kept, places = way.draw(512, 1)
    assert kept.shape == (512, 49)
    assert float(kept.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert ((places >= 0) & (places < 1)).all()


def test_errors_of_maps_by_hand():
    reference = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    shifted = errors(reference[None] + 5, reference)
    assert (shifted.pearson, shifted.spearman, shifted.mean_square) == (pytest.approx(1), 1, pytest.approx(0))
    swapped = errors(torch.tensor([[[[0.0, 2.0], [1.0, 3.0]]]]), reference)
    assert (swapped.pearson, swapped.spearman) == (pytest.approx(0.8), pytest.approx(0.8))
    assert swapped.mean_square == pytest.approx(2 / 5)  # two values are off by 1; the variance is 5/4


def test_errors_of_channels_stand_beside_all_of_them(monkeypatch):
    setting, small = small_network(3)
    monkeypatch.setattr(channel_error, "networks", lambda *_: [small])
    rows = {row["channels"]: row for row in channel_error.run(setting).rows}
    assert rows["all"]["pearson"] == pytest.approx(1)
    assert rows["none: equal weights"]["evaluations"] == 1
    for name in ("largest activation mass", "random", "representatives"):
        assert rows[name]["evaluations"] <= 1 + 8 < rows["all"]["evaluations"]
    assert rows["largest gradient weight"]["evaluations"] <= 2 + 8
    assert rows["representatives"]["pearson"] > rows["random"]["pearson"]
    assert rows["representatives"]["max_sensitivity"] > 0


def test_cheaper_forwards_stand_beside_the_usual_ones(monkeypatch):
    torch.manual_seed(0)
    setting = Setting(torch.device("cpu"), quick=True)
    small = Trained("small", setting.model("small CNN"), torch.rand(8, 3, 16, 16), torch.arange(8), 0.5)
    monkeypatch.setattr(cheaper_forwards, "trained_networks", lambda *_: [small])
    monkeypatch.setattr(cheaper_forwards, "_models", lambda: {"small CNN": setting.model("small CNN")})
    times, errors = cheaper_forwards.run(setting).rows[:3], cheaper_forwards.run(setting).rows[3:]
    assert [row["way"] for row in times] == ["channels_last", "bf16", "both"]
    assert times[0]["largest_difference"] < times[1]["largest_difference"] < 0.05
    assert [row["metric"] for row in errors] == ["InsertionDeletion", "RelativeFaithfulness", "FaithfulnessSkill"]
    assert 0 < abs(errors[0]["value"] - errors[0]["value_in_bf16"]) < 0.05


def test_gradient_explainers_are_measured_against_captum():
    result = gradient_cost.run(Setting(torch.device("cpu"), quick=True))
    methods = [row["method"] for row in result.rows]
    assert methods[:3] == ["Saliency", "InputXGradient", "IntegratedGradients"]
    assert {"SmoothGrad", "ExpectedGradients", "GuidedBackprop", "DeepLift", "GuidedGradCAM"} < set(methods)
    assert all(row["cpu_ratio"].median > 0 for row in result.rows)


def test_sampled_cams_are_measured_against_their_own_forwards():
    rows = {row["method"]: row for row in cam_samples_cost.run(Setting(torch.device("cpu"), quick=True)).rows}
    counts = {name: row["forwards"] / row["images"] for name, row in rows.items()}
    assert counts["SmoothGradCAMPlusPlus"] == counts["IntegratedGradCAM"] == 2 + 1
    assert counts["ExpectedGradCAM"] == 2 * 2 + 1 + 2 / 2  # two references for two images
    assert 200 < counts["ScoreCAM"] <= 256 + 1  # feature maps that are zero everywhere are not evaluated
    assert counts["AblationCAM"] == counts["EigenCAM"] == 1
    assert all(row["cpu_ratio"].median > 0 for row in rows.values())


def test_perturbation_explainers_are_measured_against_their_own_forwards():
    rows = {row["method"]: row for row in perturbation_cost.run(Setting(torch.device("cpu"), quick=True)).rows}
    assert list(rows) == ["RISE", "Occlusion", "captum Occlusion", "LIME", "KernelSHAP"]
    windows = 16 * 16  # of 4 pixels side by side in 64
    expected = {"RISE": 2 * 16, "Occlusion": 2 * (1 + windows), "captum Occlusion": 2 * (1 + windows)}
    assert {name: rows[name]["forwards"] for name in expected} == expected
    assert all(row["cpu_ratio"].median > 0 for row in rows.values())


def test_throughput_counts_every_pass_on_both_sides(monkeypatch):
    monkeypatch.setitem(sys.modules, "quantus", None)  # as if it was not installed
    monkeypatch.setattr(metric_throughput, "list_metrics", lambda: ["deletion_auc", "insertion_auc", "max_sensitivity"])
    result = metric_throughput.run(Setting(torch.device("cpu"), quick=True))
    missing, *beside_captum, everything = result.rows
    assert missing == {"suite": metric_throughput.TOGETHER, "beside": "Quantus: not installed"}
    passes = {row["suite"]: (row["our_evaluations"], row["their_evaluations"]) for row in beside_captum}
    assert passes == {
        "faithfulness": (1 + 24, 2 * 24),  # captum passes the clean image with each perturbed one
        "robustness": (10, 1 + 10),  # and explains it again
        metric_throughput.TOGETHER: (1 + 24 + 10, 2 * 24 + 1 + 10),
    }
    assert {row["beside"] for row in beside_captum} == {"captum"}
    assert (everything["metrics"], everything["our_evaluations"]) == (3, 1 + 2 * 10 + 10)
    assert 0 < everything["cpu_ratio"].least <= everything["cpu_ratio"].greatest
    for line in ("Quantus: not installed", "as many raw forwards"):
        assert line in _printed(result)


def _printed(result):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(result.table())
    return console.export_text()


def test_evaluations_count_copies_too():
    model = nn.Linear(2, 2)
    assert evaluations(model, lambda: (model(torch.ones(3, 2)), deepcopy(model)(torch.ones(4, 2)))) == 7
    assert evaluations(model, forwards(model, torch.ones(4, 2), 10)) == 10
    assert not model._forward_hooks


def test_ratios_are_of_neighbouring_runs():
    order = []
    compare(lambda: order.append("a"), lambda: order.append("b"), 3, torch.device("cpu"))
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert Spread.of([3.0, 1.0, 2.0, 9.0]) == Spread(1.0, 2.5, 9.0)


@pytest.mark.parametrize("keeps", [True, False])
def test_peak_counts_what_lives_at_a_time(keeps):
    kept = []

    def work():
        for _ in range(4):
            made = torch.ones(256, 1024)
            made.view(-1).add_(1.0)
            if keeps:
                kept.append(made)

    peak = peak_bytes(work, torch.device("cpu")) / 2**20
    assert peak == (4 if keeps else 2)  # the old one dies after the new one is made


def test_networks_and_images_are_the_same_in_every_run():
    setting = Setting(torch.device("cpu"), quick=True)
    first, second = setting.model("small CNN"), setting.model("small CNN")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(setting.images(3), setting.images(3))
    assert not any(module.training for module in first.modules())
    assert isinstance(first, nn.Sequential)
