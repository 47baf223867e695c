"""Declarations: scales laid over each other, places filled in, names checked before anything runs."""

import pytest

from lightning_xai.comparison.models import imported
from lightning_xai.studies import Study, list_studies
from lightning_xai.studies.declaration import folder_of, merged, read_declaration
from lightning_xai.studies.reporting.printed import read_printed
from tests.studies._made import DECLARED, written_study


def test_a_scale_is_laid_over_the_rest(tmp_path):
    folder = written_study(tmp_path)
    assert Study.load(folder).parts["main"].seeds == 1
    assert Study.load(folder, "medium").parts["main"].seeds == 2
    assert Study.load(folder, "medium", seeds=5).parts["main"].seeds == 5
    assert Study.load(folder, limit=3).parts["main"].num_images == 3
    paper = Study.load(folder, "paper", data="there")
    assert paper.parts["main"].data == {"theirs": "there/val"}
    assert paper.scale == "paper"


def test_merging_keeps_replaces_and_removes():
    over = {"x": {"class_path": "b"}, "y": None, "z": {"n": None, "m": 1}, "l": [2]}
    assert merged({"x": {"class_path": "a", "init_args": {"k": 1}}, "y": 1, "l": [1]}, over) == {
        "x": {"class_path": "b"},
        "z": {"m": 1},
        "l": [2],
    }


def test_places_keep_their_type(tmp_path):
    folder = written_study(tmp_path, DECLARED.replace("summary: Two", "flag: ${download}\nsummary: ${data}, two"))
    found = read_declaration(folder, "small", {"data": "here", "download": True})
    assert (found["flag"], found["summary"]) == (True, "here, two networks on bright images.")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("part: main, rows", "part: other, rows", "table_1.*one of 'main', but got 'other'"),
        ("recipes: [conv]", "recipes: [conf]", "recipes of part 'main'.*'conf'"),
        ("rows: [model", "rows: [network", "an axis of table_1.*'network'"),
        ("predicate: exceeds", "predicate: exceed", "predicate.*'exceed'.*Did you mean"),
        ("part: main, kind", "part: none, kind", "what figure_1 reads"),
        ("arguments: {part: main", "arguments: {part: gone", "what C1 reads"),
        ("metric: sparseness", "metric: sparsenes", "a metric of C1.*'sparsenes'"),
        ("    explainers:", "    explainer:", "a setting of part 'main'.*'explainer'"),
        ("epochs: [1, 2]", "epochs: [2, 1]", "`epochs` to rise"),
        ("batch_size: 16", "batch_size: 16\n    patience: 2", "`validation` in a recipe with `patience`"),
        ("batch_size: 16", "batch_size: 0", "batch_size"),
    ],
)
def test_what_is_wrong_is_said_at_once(tmp_path, old, new, message):
    assert old in DECLARED
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Study.load(written_study(tmp_path, DECLARED.replace(old, new)))


def test_unknown_studies_scales_and_missing_data(tmp_path):
    folder = written_study(tmp_path)
    with pytest.raises(ValueError, match="Expected `study`"):
        Study.load("hires")
    with pytest.raises(ValueError, match=r"Expected `scale`.*'small'"):
        Study.load(folder, "large")
    with pytest.raises(ValueError, match="Expected `data` for this scale of the study, but got none: pass --data"):
        Study.load(folder, "paper")
    with pytest.raises(ValueError, match="Expected `only`"):
        Study.load(folder, only=["table_2"])


def test_only_keeps_what_it_reads(tmp_path):
    folder = written_study(tmp_path)
    only = Study.load(folder, only=["table_1"])
    assert ([*only.parts], [*only.analyses], only.figures, only.claims) == (["main"], [], (), ())


def test_printed_numbers_have_one_place_each(tmp_path):
    path = tmp_path / "printed.csv"
    path.write_text("table,row,column,value,line,note\nt,a,b,,3,\n")
    ((place, number),) = read_printed(path)["t"].items()
    assert (place, number.line, number.note) == (("a", "b"), 3, "")
    assert number.value != number.value
    path.write_text(path.read_text() + "t,a,b,1,3,\n")
    with pytest.raises(ValueError, match=r"each place of printed\.csv once, but t has two"):
        read_printed(path)
    path.write_text("table,row\n")
    with pytest.raises(ValueError, match="to have the columns"):
        read_printed(path)


@pytest.mark.parametrize("name", list_studies())
def test_every_study_of_the_package_loads_at_every_scale(name):
    for scale in ("small", "medium", "paper"):
        study = Study.load(name, scale, data="somewhere")
        assert study.claims
        assert study.printed or name == "lung_ct"  # whose paper prints no number
        assert study.open_settings


def class_paths(value):
    if isinstance(value, dict):
        yield from (one for name, one in value.items() if name in {"class_path", "function"} and isinstance(one, str))
        yield from (path for one in value.values() for path in class_paths(one))
    elif isinstance(value, list):
        yield from (path for one in value for path in class_paths(one))


@pytest.mark.parametrize("name", list_studies())
def test_every_class_that_a_study_names_is_there(name):
    found = set()
    for scale in ("small", "medium", "paper"):
        found |= set(class_paths(read_declaration(folder_of(name), scale, {"data": "somewhere", "download": False})))
    assert found
    for path in found:
        assert callable(imported(path))
