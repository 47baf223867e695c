"""Tables as text: for a terminal, Markdown, LaTeX, CSV."""

import csv
import io

import pytest
from rich.console import Console

from lightning_xai import Comparison
from lightning_xai.comparison import Records
from lightning_xai.comparison.records import Entry
from tests.comparison._made import AsIs, Counted, Mirrored, TopLeft, marked_images

RECORDS = Records(
    ("name", "n_value ↑", "is it"),
    (("a_b & c|d", Entry("1.5 ± 0.1", True), True), ("50% #1 [x]", float("nan"), False), ("e", 123456.0, None)),
    "A title",
    ("A note.",),
)


def test_markdown():
    assert RECORDS.to_markdown() == (
        "**A title**\n\n| name | n_value ↑ | is it |\n|---|---|---|\n| a_b & c\\|d | **1.5 ± 0.1** | yes |\n"
        "| 50% #1 [x] | – | no |\n| e | 1.23e+05 | – |\n\nA note."
    )


def test_latex():
    assert RECORDS.to_latex() == (
        "% A title\n\\begin{tabular}{lll}\n\\toprule\nname & n\\_value $\\uparrow$ & is it \\\\\n\\midrule\n"
        "a\\_b \\& c|d & \\textbf{1.5 $\\pm$ 0.1} & yes \\\\\n50\\% \\#1 [x] & -- & no \\\\\ne & 1.23e+05 & -- \\\\\n"
        "\\bottomrule\n\\end{tabular}\n% A note."
    )


def test_csv(tmp_path):
    text = RECORDS.to_csv(tmp_path / "folder" / "table.csv")
    assert (tmp_path / "folder" / "table.csv").read_text() == text
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[1:] == [["a_b & c|d", "1.5 ± 0.1", "True"], ["50% #1 [x]", "", "False"], ["e", "123456.0", ""]]


def test_terminal():
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(RECORDS)
    text = console.export_text()
    assert "50% #1 [x]" in text
    assert "A note." in text


def test_rows():
    assert len(RECORDS) == 3
    assert RECORDS[0]["name"] == "a_b & c|d"
    assert [row["name"] for row in RECORDS[1:]] == ["50% #1 [x]", "e"]
    assert [row["name"] for row in RECORDS.where(name="e")] == ["e"]
    with pytest.raises(ValueError, match="Did you mean 'name'"):
        RECORDS.where(nam="e")


@pytest.fixture(scope="module")
def table():
    explainers = {"a": AsIs(), "b": Mirrored(), "also_a": AsIs()}
    return Comparison({"m": Counted()}, {"d": marked_images()}, explainers, [TopLeft(), "pointing_game"]).run()


class TestOfAComparison:
    def test_the_page_of_a_setting(self, table):
        lines = table.to_markdown().splitlines()
        assert lines[0] == "**m · d · target=label**"
        assert lines[2].startswith("| explainer | pointing_game ↑")
        assert lines[4].startswith("| a | **0.500 ± 0.289** | 2.625 ± 1.106 |")
        assert lines[5].startswith("| b | 0.250 ± 0.250 | **1.000 ± 0.707** |")
        assert lines[6].startswith("| also_a | **0.500 ± 0.289** | 2.625 ± 1.106 |")  # equal methods are both the best
        assert any(line.startswith("| fake_cam (control) |") for line in lines)
        assert "a = also_a: one method here, with equal heatmaps." in lines
        assert any(line.startswith("† top_left: ") and "fooled by" in line and "fake_cam" in line for line in lines)
        assert "| pointing_game | PointingGame(tolerance=0.0) | – |" in lines

    def test_equal_methods_share_ranks(self, table):
        ranks = {(r["explainer"], r["metric"]): r["rank"] for r in table.ranks(controls=False)}
        assert ranks["a", "pointing_game"] == ranks["also_a", "pointing_game"] == 1.5
        assert {r["explainers"] for r in table.correlations()} == {2}  # too few once they are one

    @pytest.mark.parametrize("kind", ["means", "ranks", "correlations"])
    def test_figures_hold_every_number(self, table, kind):
        figure = table.plot(kind)
        texts = {text.get_text() for axes in figure.axes for text in axes.texts}
        ranks = {f"{row['rank']:.1f}".removesuffix(".0") for row in table.ranks()}
        expected = {"means": {"0.500", "2.625", "1.000"}, "ranks": ranks, "correlations": {"1.00", "–"}}[kind]
        assert expected <= texts
        names = {label.get_text() for label in figure.axes[0].get_yticklabels()}
        assert names == ({"pointing_game", "top_left"} if kind == "correlations" else {*_rows()})

    def test_a_figure_into_axes(self, table):
        from matplotlib.figure import Figure

        axes = Figure().subplots()
        assert table.plot("ranks", axes) is axes.figure
        with pytest.raises(ValueError, match=r"^Expected `kind` to be one of 'means', 'ranks', 'correlations'"):
            table.plot("rank")

    def test_terminal(self, table):
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(table)
        assert "random_heatmap (control)" in console.export_text()
        assert str(table) == table.to_markdown()
        assert table.to_latex().count(r"\toprule") == 2


def _rows():
    return ("a", "b", "also_a", "random_heatmap (control)", "fake_cam (control)", "center_heatmap (control)")
