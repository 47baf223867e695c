"""Finished parts are files: a run goes on, a changed setting is another file, nothing is computed twice."""

import sys

import pytest
import torch
from pyarrow import parquet

from lightning_xai import Comparison, PointingGame, RandomHeatmap, Readout, Sample
from lightning_xai.comparison.models import loaded_model
from lightning_xai.comparison.storage import folder_storage as storage
from lightning_xai.comparison.storage.fingerprint import of_model
from tests.comparison._made import IMAGES, AsIs, Counted, Mirrored, TopLeft, evaluations_of, marked_images
from tests.comparison._run import comparison


def files(folder, kind="values"):
    return {path.name: path.stat().st_mtime_ns for path in (folder / kind).glob("*.*")}


@pytest.fixture(scope="module")
def uninterrupted():
    return comparison().run().to_csv()


def test_a_finished_run_computes_nothing_and_says_the_same(tmp_path):
    in_memory = comparison().run()
    first, seen = evaluations_of(comparison(tmp_path).run)
    written = files(tmp_path)
    second, seen_again = evaluations_of(comparison(tmp_path).run)
    assert seen > 0
    assert seen_again == 0
    assert files(tmp_path) == written
    assert first.to_csv() == second.to_csv() == in_memory.to_csv()
    assert first.costs().rows == second.costs().rows
    assert first.to_markdown() == second.to_markdown()
    assert not any((tmp_path / "claims").iterdir())


@pytest.mark.parametrize("kept", range(0, 60, 6))
def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch, kept, uninterrupted):
    """Stopped before its file of this number is written; 2 models × 6 cells × (heatmaps + 4 metrics) = 60 files."""
    write, written = storage.write_file, []

    def stopping(path, content):
        if len(written) == kept:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "write_file", stopping)
        with pytest.raises(KeyboardInterrupt):
            comparison(tmp_path).run()
    before = {path: path.stat().st_mtime_ns for path in written}
    assert not any((tmp_path / "claims").iterdir())
    table = comparison(tmp_path).run()
    assert {path: path.stat().st_mtime_ns for path in written} == before
    assert table.to_csv() == uninterrupted
    assert len(files(tmp_path)) + len(files(tmp_path, "heatmaps")) == 60


def test_a_further_metric_computes_that_metric(tmp_path):
    comparison(tmp_path).run()
    written = files(tmp_path)
    table, seen = evaluations_of(comparison(tmp_path, ["average_drop", "insertion_auc", "average_increase"]).run)
    assert seen == 4 * (1 + 6)  # logits, and a masked image in each of the counted model's cells
    assert len(files(tmp_path)) == len(written) + 2 * 6
    assert {name: files(tmp_path)[name] for name in written} == written
    assert "average_increase" in table.metrics


def run(folder, model=None, images=None, explainer=None, metric=None, **arguments):
    explainers = {"a": AsIs(), "r": explainer or RandomHeatmap()}
    data = {"d": images or marked_images()}
    work = Comparison(model or Counted(), data, explainers, metric or PointingGame(), output=folder, **arguments).run
    return evaluations_of(work)


def scaled():
    model = Counted()
    model.scale.data.fill_(0.5)
    return model


def changed_pixel():
    images = IMAGES.clone()
    images[2, 0, 1, 1] += 1e-6
    sample = marked_images()
    return Sample(images, sample.labels, masks=sample.masks, ids=sample.ids)


def changed_mask():
    sample = marked_images()
    return Sample(sample.images, sample.labels, masks=sample.masks.flip(-1), ids=sample.ids)


@pytest.mark.parametrize(
    ("changed", "new"),
    [
        ({"model": scaled()}, 4),
        ({"images": changed_pixel()}, 4),
        ({"images": changed_mask()}, 4),
        ({"explainer": RandomHeatmap(seed=3)}, 1),
        ({"metric": PointingGame(tolerance=1.0)}, 4),
        ({"targets": "predicted"}, 4),
        ({"seed": 1}, 4),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else str(value),
)
def test_what_decides_a_number_makes_another_file(tmp_path, changed, new):
    run(tmp_path)
    written = files(tmp_path)
    assert len(written) == 4  # as it is, random, Fake-CAM, the centre
    run(tmp_path, **changed)
    assert len(files(tmp_path)) == 4 + new
    run(tmp_path)
    assert {name: files(tmp_path)[name] for name in written} == written


def test_how_a_model_is_read_is_part_of_it():
    model = Counted()
    functions = [lambda output: output, lambda output: output * 2, lambda output: output * 3]
    found = {of_model(model, Readout(logits_from_output=one)) for one in functions}
    assert len(found | {of_model(model, Readout("multilabel"))}) == 4
    assert of_model(model, None) == of_model(Counted(), Readout())


def test_the_code_of_a_model_is_part_of_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    words = []
    for number, operation in enumerate(["relu", "tanh"]):
        (tmp_path / f"net_{number}.py").write_text(
            "import torch\n\n\nclass Net(torch.nn.Module):\n"
            f"    def forward(self, x):\n        return torch.{operation}(x.flatten(1))\n"
        )
        words.append(of_model(loaded_model(f"net_{number}.Net"), None))
    assert words[0] != words[1]


def test_a_raised_version_is_computed_anew(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(PointingGame, "numbers_version", 2)
    run(tmp_path)
    assert len(files(tmp_path)) == 8
    assert len(files(tmp_path, "heatmaps")) == 4
    monkeypatch.setattr(AsIs, "numbers_version", 2)
    run(tmp_path)
    assert len(files(tmp_path)) == 9
    monkeypatch.setattr(sys.modules["lightning_xai.evidence.removal.masked_image"].MaskedImage, "numbers_version", 1)
    run(tmp_path, metric="average_drop")
    monkeypatch.setattr(sys.modules["lightning_xai.evidence.removal.masked_image"].MaskedImage, "numbers_version", 2)
    run(tmp_path, metric="average_drop")
    assert len(files(tmp_path)) == 9 + 4 + 4


def test_names_decide_no_number(tmp_path):
    run(tmp_path)
    sample = marked_images()
    renamed = Sample(sample.images, sample.labels, masks=sample.masks, ids=["w", "x", "y", "z"])
    table = Comparison({"renamed": Counted()}, {"e": renamed}, {"b": AsIs()}, PointingGame(), output=tmp_path).run()
    assert len(files(tmp_path)) == 4
    assert table.mean()[0]["model"] == "renamed"
    assert "renamed,e,none,label,b,pointing_game,0" in table.to_csv()


def test_what_failed_is_tried_again(tmp_path):
    class Flaky(AsIs):
        works = False

        def explain(self, classifier, images, target):
            if not Flaky.works:
                raise OSError("no memory")
            return super().explain(classifier, images, target)

    compared = Comparison(Counted(), marked_images(), {"flaky": Flaky(), "b": Mirrored()}, TopLeft(), output=tmp_path)
    assert [f.reason for f in compared.run().errors] == ["OSError: no memory"]
    assert len(files(tmp_path)) == 4
    Flaky.works = True
    assert not compared.run().errors
    assert len(files(tmp_path)) == 5


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    write, written = storage.write_file, []

    def full(path, content):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(storage, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path)
    monkeypatch.setattr(storage, "write_file", write)
    assert all(path.is_file() for path in written)
    assert not run(tmp_path)[0].failures


def test_the_folder_is_one_table(tmp_path):
    table, _ = run(tmp_path)
    rows = parquet.read_table(tmp_path / "values").to_pylist()
    assert len(rows) == 4 * 4
    assert set(rows[0]) == set(table.to_csv().splitlines()[0].split(","))
    of_explainer = {row["image"]: row["value"] for row in rows if row["explainer"] == "a"}
    assert of_explainer == {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0}
    assert {row["id"] for row in rows} == {"a", "b", "c", "d"}
    table.to_parquet(tmp_path / "all.parquet")
    assert sorted(map(str, parquet.read_table(tmp_path / "all.parquet").to_pylist())) == sorted(map(str, rows))


def test_rows_of_several_numbers_and_undefined_ones_come_back(tmp_path):
    data = {"d": Sample(torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 2]))}
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    given = (model, data, {"flat": AsIs()}, ["faithfulness_skill", "average_gain", "average_increase"])
    first = Comparison(*given, output=tmp_path).run()
    again = Comparison(*given, output=tmp_path).run()
    place = first.settings[0], "flat", "faithfulness_skill"
    assert first.of(*place).rows.shape == (3, 3)
    assert torch.equal(first.of(*place).rows, again.of(*place).rows)
    assert first.to_csv() == again.to_csv() == Comparison(*given).run().to_csv()
    assert (
        first.estimate(*place) == again.estimate(*place) or first.estimate(*place).value != first.estimate(*place).value
    )


def test_without_pyarrow(tmp_path, monkeypatch):
    from lightning_xai.comparison.storage import tidy

    monkeypatch.setattr(tidy, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "lightning-xai\[compare\]"$'):
        comparison(tmp_path)
    comparison()
