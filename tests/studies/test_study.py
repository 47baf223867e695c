"""A study from its files to its report; nothing that is finished is done again."""

import io
import shutil

import pytest
from rich.console import Console

from lightning_xai import GradCAM
from lightning_xai.cli.main import main
from lightning_xai.comparison.running.bench import Bench
from lightning_xai.studies import Study
from lightning_xai.studies.training import trained_networks
from tests.studies._made import CALLS, DECLARED, written_study


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A study that was run once, its folder and its result."""
    folder = tmp_path_factory.mktemp("study")
    study = Study.load(written_study(folder))
    CALLS.clear()
    result = study.run(folder / "out", progress=False)
    result.write(folder / "out")
    return folder, result


def test_it_says_everything(run):
    folder, result = run
    out = folder / "out"
    written = {"table_1.md", "table_1.tex", "table_1.csv", "figure_1.png", "claims.md", "report.html"}
    assert written <= {path.name for path in out.iterdir()}
    assert result.title == "A tiny paper (small scale)"
    assert [row[0] for row in result.table("table_1").rows][:2] == ["conv-e1 · grad_cam", "conv-e1 · hires_cam"]
    assert " | 0.500 | " in result.table("table_1")[0]["sparseness ↑"]
    assert result.verdicts["C1"].outcome in {"supported", "contradicted", "undecided"}
    assert result.networks.columns[:2] == ("network", "accuracy")
    assert not result.errors
    page = (out / "report.html").read_text()
    for text in ("A tiny paper (small scale)", "Grad-CAM is sparser", "Counted", "The size of the images", "A slip"):
        assert text in page
    assert "<script" not in page


def test_a_terminal_that_is_too_narrow_for_a_table_is_told_its_file(run):
    _, result = run
    wide, narrow = (io.StringIO() for _ in range(2))
    for file, width in ((wide, 300), (narrow, 60)):
        Console(file=file, width=width).print(result)
    table = result.table("table_1")
    assert all(name in wide.getvalue() for name in table.columns)
    assert "table_1.md" not in wide.getvalue()
    assert "table_1.md" in narrow.getvalue()
    assert "grad_cam" not in narrow.getvalue()
    assert result.verdicts["C1"].outcome in narrow.getvalue()


def test_nothing_is_done_again(run, monkeypatch):
    folder, first = run
    for owner, name in ((trained_networks, "trained_by"), (Bench, "heatmaps"), (Bench, "scores")):
        monkeypatch.setattr(owner, name, None)
    again = Study.load(folder / "tiny").run(folder / "out", progress=False)
    assert again.claims.rows == first.claims.rows
    assert again.tables["table_1"].rows == first.tables["table_1"].rows
    assert again.findings.analyses["count"].rows == first.findings.analyses["count"].rows == ((3, None),)
    assert CALLS == [3]


def test_a_changed_analysis_is_computed_again(run, tmp_path):
    folder, _ = run
    changed = written_study(tmp_path, DECLARED.replace("factor: 3", "factor: 4"))
    found = Study.load(changed).run(folder / "out", progress=False)
    assert found.findings.analyses["count"].rows == ((4, None),)
    assert CALLS == [3, 4]


def test_the_command(run, tmp_path, capsys):
    folder, first = run
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    assert main(["study", str(folder / "tiny"), "--output", str(out), "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert f"C1     {first.verdicts['C1'].outcome}" in said.out
    assert "training" not in said.err
    assert main(["study", str(folder / "tiny"), "--output", str(out), "--dry-run"]) == 0
    assert "8 cells, 8 of them finished" in capsys.readouterr().out
    assert main(["study", str(folder / "tiny"), "--output", str(tmp_path / "new"), "--dry-run"]) == 0
    assert "main: 1 networks to train first" in capsys.readouterr().out
    assert main(["study", "nothing"]) == 2
    assert "Expected `study` to be one of" in capsys.readouterr().err


def test_an_explainer_that_fails_is_said_and_in_the_exit_status(run, tmp_path, capsys, monkeypatch):
    def failing(*_):
        raise RuntimeError("no map today")

    folder, _ = run
    monkeypatch.setattr(GradCAM, "explain", failing)
    given = ["--networks", str(folder / "out" / "networks"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["study", str(folder / "tiny"), *given]) == 1
    said = capsys.readouterr()
    assert "lightning-xai: error: main: " in said.err
    assert "RuntimeError: no map today" in said.err
    assert "hires_cam" in (tmp_path / "out" / "table_1.csv").read_text()
    assert (tmp_path / "out" / "report.html").exists()
