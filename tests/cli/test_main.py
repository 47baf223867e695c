"""The command line, as it is typed."""

import errno
import runpy
import sys

import pytest
import torch
import yaml

from lightning_xai import RISE, GradCAM, Saliency, list_explainers, list_metrics
from lightning_xai.cli.main import main, with_lists
from lightning_xai.comparison.storage import folder_storage
from tests.comparison._made import evaluations_of

MADE = "tests.comparison._made"
PARTS = ["--models", f"{MADE}.Counted", "--data", f"{MADE}.marked_images", "--device", "cpu"]


def compare(*arguments):
    return main(["compare", *PARTS, *arguments])


def test_a_comparison_from_the_first_line_to_the_files(tmp_path, capsys):
    given = [
        "--explainers",
        "saliency",
        "--metrics",
        "average_drop",
        "pointing_game",
        "--output",
        str(tmp_path / "out"),
    ]
    status, seen = evaluations_of(lambda: compare(*given, "--num_curves", "1"))
    told = capsys.readouterr().out
    assert status == 0
    assert "saliency" in told
    assert "fake_cam (control)" in told
    files = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert files == {
        "accuracy.csv",
        "agreement_of_explainers.csv",
        "agreement_of_explainers.png",
        "costs.csv",
        "correlations.png",
        "curves.png",
        "differences_to_controls.csv",
        "means.csv",
        "extremes.png",
        "means.png",
        "probability.png",
        "ranks.csv",
        "ranks.png",
        "spread.csv",
        "table.md",
        "table.tex",
        "verdicts.csv",
    }
    assert "| saliency | " in (tmp_path / "out" / "table.md").read_text()
    means = (tmp_path / "out" / "means.csv").read_text().splitlines()
    assert len(means) == 1 + 4 * 2
    status, seen_again = evaluations_of(lambda: compare(*given))
    assert (status, seen > 0, seen_again) == (0, True, 0)
    assert capsys.readouterr().out == told


def test_a_config(tmp_path, capsys):
    config = {
        "models": {"m": {"class_path": f"{MADE}.Counted"}, "flat": f"{MADE}.Counted"},
        "data": {"d": f"{MADE}.marked_images"},
        "explainers": {
            "plain": "saliency",
            "ranked": {
                "class_path": "lightning_xai.Normalized",
                "init_args": {"explainer": {"class_path": "lightning_xai.Saliency"}, "how": "rank"},
            },
        },
        "metrics": [{"class_path": "lightning_xai.PointingGame", "init_args": {"tolerance": 1.0}}, "sparseness"],
        "targets": [2],
        "transforms": {"none": None, "turned": f"{__name__}.turned"},
        "readout": {"task": "multiclass"},
    }
    path = tmp_path / "compare.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["compare", "--config", str(path), "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    capsys.readouterr()
    text = (tmp_path / "out" / "table.md").read_text()
    assert "**m · d · turned · target=2**" in text
    ranked = "explainer=Saliency(reduction='abs_max'), how='rank'"
    assert f"| ranked | Normalized({ranked}) | {ranked} |" in text
    assert "PointingGame(tolerance=1.0)" in text
    assert text.count("**flat · d") == 2
    drawn = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert {"agreement_of_models", "accuracy_d_turned_2", "accuracy_d_none_2"} < drawn
    assert {f"{kind}_flat_d_turned_2" for kind in ("probability", "extremes")} < drawn
    assert len(drawn) == 3 + 2 + 2 + 4 * 2


def turned(sample):
    from lightning_xai import Sample

    return Sample(sample.images.rot90(2, (2, 3)), sample.labels, masks=sample.masks.rot90(2, (1, 2)))


def test_what_failed_is_in_the_exit_status(tmp_path, capsys):
    models = ["--models", f"{MADE}.Counted", str(tmp_path / "gone.ckpt")]
    given = ["--data", f"{MADE}.marked_images", "--explainers", "saliency", "--metrics", "sparseness"]
    assert main(["compare", *models, *given, "--output", "null", "--device", "cpu"]) == 1
    assert "gone" in capsys.readouterr().out


def test_an_explainer_that_fails_is_in_the_exit_status_and_the_others_in_the_table(tmp_path, capsys, monkeypatch):
    def failing(*_):
        raise RuntimeError("no map today")

    monkeypatch.setattr(Saliency, "explain", failing)
    given = ["--explainers", "saliency", "input_x_gradient", "--metrics", "sparseness", "--output", str(tmp_path)]
    assert compare(*given) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "RuntimeError: no map today" in told
    means = (tmp_path / "means.csv").read_text()
    assert "input_x_gradient" in means
    monkeypatch.undo()
    assert compare(*given) == 0  # what failed is tried again


def test_where_everything_failed_nothing_is_drawn(tmp_path, capsys):
    given = ["--models", f"{MADE}.Mistyped", "--data", f"{MADE}.marked_images", "--explainers", "saliency"]
    output = ["--metrics", "sparseness", "--output", str(tmp_path), "--device", "cpu"]
    assert main(["compare", *given, *output]) == 1
    assert "has no attribute 'Mistyped'" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--explainers", "salience"], "Did you mean 'saliency'?"),
        (["--explainers", "saliency", "--metrics", "heatmap_drift"], "Expected `metrics` of one explainer's heatmaps"),
        (["--explainers", '[{"class_path": "lightning_xai.GradCam"}]'], "has no attribute 'GradCam'"),
        (["--explainers", '[{"class_path": "lightning_xai.GradCAM", "init_args": {"layer": 1}}]'], "'layer'"),
        (["--explainers", "saliency", "--targets", "labels"], "Did you mean 'label'?"),
    ],
    ids=str,
)
def test_wrong_arguments_are_told_in_one_line(tmp_path, capsys, arguments, text):
    assert compare(*arguments, "--output", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith("lightning-xai: error: ")
    assert error.count("\n") == 1
    assert text in error


def test_an_unknown_argument_is_an_error_of_the_parser(capsys):
    with pytest.raises(SystemExit) as stopped:
        compare("--nothing", "1")
    assert stopped.value.code == 2
    assert "--nothing" in capsys.readouterr().err


def test_dry_run(tmp_path, capsys):
    given = ["--explainers", "saliency", "rise", "--metrics", "average_drop", "--output", str(tmp_path)]
    status, seen = evaluations_of(lambda: compare(*given, "--dry-run"))
    told = capsys.readouterr().out
    assert status == 0
    assert seen == 3 * 4  # timed on the first batch
    cost = 4 * (Saliency().evaluations + RISE().evaluations + 5 + 1)  # heatmaps, a masked image in each cell, logits
    assert told.startswith(f"5 cells, 0 of them finished; about {cost:,} evaluations left, ")
    compare("--explainers", "saliency", "--metrics", "average_drop", "--output", str(tmp_path))
    capsys.readouterr()
    assert compare(*given, "--dry-run") == 0
    left = 4 * (RISE().evaluations + 1 + 1)
    assert capsys.readouterr().out.startswith(f"5 cells, 4 of them finished; about {left:,} evaluations left, ")


def test_ctrl_c_says_that_the_rest_is_kept(tmp_path, capsys, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Saliency, "explain", stopped)
    given = ["--explainers", "saliency", "--metrics", "average_drop", "--output", str(tmp_path)]
    assert compare(*given) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_a_full_disk_is_told_in_one_line_and_the_rest_goes_on(tmp_path, capsys, monkeypatch):
    given = ["--explainers", "saliency", "--metrics", "average_drop", "--output", str(tmp_path), "--split", "1"]
    write, written = folder_storage.write_file, []

    def full(path, content):
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(folder_storage, "write_file", full)
        assert compare(*given) == 1
    error = capsys.readouterr().err
    assert error.startswith("lightning-xai: error: [Errno 28] No space left on device. What is finished is kept")
    assert error.count("\n") == 1
    before = {path: path.stat().st_mtime_ns for path in written}
    assert compare(*given) == 0
    assert {path: path.stat().st_mtime_ns for path in written} == before


def test_lists(capsys):
    assert main(["list", "explainers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list_explainers()
    assert main(["list", "metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list_metrics()
    row = next(line for line in lines if line.startswith("| pointing_game |"))
    assert row.endswith("| higher | masks or boxes |")


def test_the_layers_of_a_model(capsys):
    assert main(["list", "layers", "--model", "torchvision/resnet18/none", "--image_size", "[3, 64, 64]"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| layer4 | Sequential | 512 × 2 × 2 |" in lines
    assert "| conv1 | Conv2d | 64 × 32 × 32 |" in lines
    assert not any(line.startswith(("| avgpool |", "| fc |")) for line in lines)
    assert lines[-1] == 'target_layer="auto" takes the output of `layer4`.'
    from lightning_xai.comparison.models import loaded_model

    explainer = GradCAM()
    explainer(loaded_model("resnet18/none").eval(), torch.rand(1, 3, 64, 64), 0)
    assert explainer.picked == ["the output of `layer4`"]
    assert main(["list", "layers"]) == 2
    assert "Expected `--model` with `list layers`" in capsys.readouterr().err


def test_several_values_are_a_list():
    assert with_lists(["--models", "a", "--data", "{x: y}", "--seed", "3"]) == [
        '--models=["a"]',
        "--data={x: y}",
        "--seed",
        "3",
    ]
    assert with_lists(["--image_size", "3", "64", "64"]) == ['--image_size=["3", "64", "64"]']
    assert with_lists(["--metrics=haas", "--dry-run"]) == ["--metrics=haas", "--dry-run"]
    assert with_lists(["--metrics"]) == ["--metrics"]
    assert with_lists(["explain", "--data", "a.Data"]) == ["explain", "--data", "a.Data"]


def test_it_runs_as_a_module(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lightning-xai", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("lightning_xai", run_name="__main__")
    assert not stopped.value.code
    assert "Compare explainers by metrics" in capsys.readouterr().out


def test_help_loads_no_command(capsys, monkeypatch):
    monkeypatch.setattr("lightning_xai.cli.main._module", lambda command: pytest.fail(f"{command} was loaded"))
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert all(line in said for line in ("compare ", "explain ", "study ", "list "))


def test_without_jsonargparse(monkeypatch, capsys):
    monkeypatch.setattr("lightning_xai.cli.main.find_spec", lambda _: None)
    assert main([]) == 2
    assert 'pip install "lightning-xai[cli]"' in capsys.readouterr().err
