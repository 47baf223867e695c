"""A large cell is split by images: it is the same cell, of which nothing is computed twice."""

from itertools import pairwise

import pytest
import torch

from lightning_xai import RISE, Comparison, GradCAM, MaxSensitivity, RandomHeatmap, Saliency, Sample
from lightning_xai.comparison.cell import Part
from lightning_xai.comparison.running import loaded
from lightning_xai.comparison.running.ledger import Ledger
from lightning_xai.comparison.running.loaded import LoadedModels
from lightning_xai.comparison.running.worker import Worker
from lightning_xai.comparison.storage import folder_storage
from lightning_xai.comparison.storage.storage import MemoryStorage
from tests._nets import ByBrightness, ConvNet
from tests.comparison._made import EXPLAINED, AsIs, Counted, Slow, TopLeft, many_images, marked_images
from tests.comparison._run import heavy

CELLS, METRICS, PARTS = 4, 4, 5
FILES = CELLS * (METRICS + 1) * (PARTS + 1)


@pytest.fixture(scope="module")
def whole():
    return heavy().run()


def explained_by(work):
    EXPLAINED.clear()
    result = work()
    return result, list(EXPLAINED)


@pytest.mark.parametrize("split", [1, 40 * 14, 10**6])
def test_parts_make_the_same_cell(tmp_path, whole, split):
    table = heavy(tmp_path, split=split).run()
    assert table.to_csv() == whole.to_csv()
    assert [row[:-1] for row in table.costs().rows] == [row[:-1] for row in whole.costs().rows]  # but for the seconds
    for cell, heatmaps in whole.heatmaps.items():
        assert torch.equal(table.heatmaps[cell].signature, heatmaps.signature)
    assert len(list((tmp_path / "values").iterdir())) == CELLS * METRICS
    assert len(list((tmp_path / "heatmaps").iterdir())) == CELLS
    assert not any((tmp_path / "parts").rglob("*"))
    assert not any((tmp_path / "claims").iterdir())


def test_methods_that_draw_and_read_the_network(tmp_path):
    data = [{"image": torch.rand(3, 12, 12), "label": place % 4} for place in range(34)]
    explainers = [GradCAM(), RISE(num_masks=16)]
    metrics = ["faithfulness_skill", MaxSensitivity(num_samples=2)]
    given = (ConvNet(), {"d": data}, explainers, metrics)
    whole = Comparison(*given).run()
    split = Comparison(*given, output=tmp_path, split=1).run()
    assert split.to_csv() == whole.to_csv()
    place = whole.settings[0], "grad_cam", "faithfulness_skill"
    assert whole.of(*place).rows.shape == split.of(*place).rows.shape == (34, 3)


@pytest.mark.parametrize("number", [0, 1])
def test_whoever_computes_a_part_the_layer_is_chosen_by_the_same_image(monkeypatch, number):
    """Each of two processes begins with another image, one dark, one bright, in a model whose graph depends on it."""
    monkeypatch.setattr("lightning_xai.comparison.images.IMAGES_AT_ONCE", 1)
    data = Sample(torch.stack([-torch.rand(3, 8, 8), torch.rand(3, 8, 8)]), torch.tensor([0, 1]))
    table = Comparison({"m": ByBrightness}, data, "grad_cam", "sparseness").run()
    with LoadedModels(table.behind.task, MemoryStorage()) as models:
        picked = models.bench(table.settings[0]).heatmaps(GradCAM(), [number]).picked
    assert picked == ("the output of `second`",)


def test_size_of_parts():
    def parts(explainer, split, data=None):
        data = {"d": data or many_images()}
        comparison = Comparison(Counted(), data, {"a": explainer}, TopLeft(), split=split)
        return comparison.task.parts(comparison.cells()[0])

    def ranges(*ends):
        return [Part(range(first, last)) for first, last in pairwise(ends)]

    assert parts(Saliency(), 74) == ranges(0, 4, 5)  # 75 evaluations in five batches
    assert parts(Saliency(), 75) == ranges(0, 5)
    assert parts(Saliency(), 30) == ranges(0, 2, 4, 5)
    assert parts(Saliency(), 1) == ranges(0, 1, 2, 3, 4, 5)  # never less than a batch
    unknown = AsIs()
    unknown.evaluations = None
    assert parts(unknown, 10**9) == ranges(0, 1, 2, 3, 4, 5)
    assert parts(AsIs(), 1) == ranges(0, 5)  # which costs nothing
    assert parts(Saliency(), 1, marked_images()) == ranges(0, 1)


@pytest.mark.parametrize("kept", [0, 1, 7, 25, 26, 29, 77, FILES - 1])
def test_a_run_that_was_stopped_goes_on_and_writes_nothing_twice(tmp_path, monkeypatch, whole, kept):
    """Stopped before its file of this number: 25 of the parts of a cell, then 5 of the cell, and so on."""
    write, written = folder_storage.write_file, []

    def noting(path, content):
        if len(written) == kept:
            raise KeyboardInterrupt
        written.append(path.relative_to(tmp_path))
        write(path, content)

    monkeypatch.setattr(folder_storage, "write_file", noting)
    with pytest.raises(KeyboardInterrupt):
        heavy(tmp_path, split=1).run()
    assert not any((tmp_path / "claims").iterdir())
    kept = -1
    assert heavy(tmp_path, split=1).run().to_csv() == whole.to_csv()
    assert len(set(written)) == len(written) == FILES
    assert not any((tmp_path / "parts").rglob("*"))


def test_stopped_when_the_parts_were_to_be_removed(tmp_path, monkeypatch, whole):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(folder_storage.shutil, "rmtree", stopped)
        with pytest.raises(KeyboardInterrupt):
            heavy(tmp_path, split=1).run()
    assert any((tmp_path / "parts").iterdir())
    table, explained = explained_by(heavy(tmp_path, split=1).run)
    assert (table.to_csv(), explained) == (whole.to_csv(), [])


def test_a_run_in_memory_goes_on_too(whole):
    class Stopping(Slow):
        stops = True

        def explain(self, classifier, images, target):
            if len(images) == 6 and Stopping.stops:
                raise KeyboardInterrupt
            return super().explain(classifier, images, target)

    comparison = heavy(explainer=Stopping(), split=1)
    with pytest.raises(KeyboardInterrupt):
        comparison.run()
    Stopping.stops = False
    table, explained = explained_by(comparison.run)
    assert explained == [6, 3, 2]
    assert table.to_csv() == whole.to_csv()


def test_a_part_that_fails_is_tried_again_beside_the_others(tmp_path, whole):
    class Flaky(Slow):
        works = False

        def explain(self, classifier, images, target):
            if len(images) == 6 and not Flaky.works:
                raise OSError("no memory")
            return super().explain(classifier, images, target)

    table = heavy(tmp_path, explainer=Flaky(), split=1).run()
    assert {(f.cell.explainer, f.reason) for f in table.errors} == {("slow", "OSError: no memory")}
    assert len(table.errors) == METRICS
    assert len(list((tmp_path / "values").iterdir())) == (CELLS - 1) * METRICS
    Flaky.works = True
    table, explained = explained_by(heavy(tmp_path, explainer=Flaky(), split=1).run)
    assert explained == [6, 3, 2]
    assert table.to_csv() == whole.to_csv()


def test_a_metric_that_fails_in_a_part_leaves_the_others_whole(tmp_path, whole):
    class Flaky(TopLeft):
        works = False

        def score(self, case):
            if len(case.images) == 6 and not Flaky.works:
                raise ZeroDivisionError("by zero")
            return super().score(case)

    def run():
        explainers = {"slow": Slow()}
        metrics = {"average_drop": "average_drop", "top_left": Flaky()}
        return Comparison(Counted(), {"d": many_images()}, explainers, metrics, output=tmp_path, split=1).run()

    assert {f.metric for f in run().errors} == {"top_left"}
    assert len(list((tmp_path / "values").iterdir())) == CELLS
    Flaky.works = True
    table, explained = explained_by(run)
    assert (table.errors, explained) == ((), [])
    (setting,) = table.settings
    assert torch.equal(table.of(setting, "slow", "top_left").rows, whole.of(setting, "slow", "top_left").rows)
    assert not any((tmp_path / "parts").iterdir())


def test_a_further_metric_of_a_whole_cell_explains_nothing_again(tmp_path):
    heavy(tmp_path, ["average_drop"], split=1).run()
    table, explained = explained_by(heavy(tmp_path, ["average_drop", "insertion_auc"], split=1).run)
    assert explained == []
    assert table.to_csv() == heavy(metrics=["average_drop", "insertion_auc"]).run().to_csv()


def test_the_largest_cells_come_first_whatever_their_model():
    """By evaluations × values of the images × weights of the model; each model is loaded once."""
    nets = {
        "small": ConvNet(),
        "large": torch.nn.Sequential(ConvNet(), torch.nn.Linear(4, 300), torch.nn.Linear(300, 4)),
    }
    data = {name: Sample(torch.rand(n, 3, 16, 16), torch.arange(n) % 4) for name, n in (("few", 2), ("many", 5))}
    explainers = {"cheap": Saliency(), "dear": RISE(num_masks=16), "drawn": RandomHeatmap()}
    comparison = Comparison({name: lambda net=net: net for name, net in nets.items()}, data, explainers, TopLeft())
    ledger, order = Ledger(comparison.task, MemoryStorage()), []
    with LoadedModels(comparison.task, MemoryStorage()) as models:
        ledger.identify(models)
        Worker(ledger, models, lambda cell, _: order.append(cell)).work(ledger.unfinished())
        assert models.loads == 2
    weights = {name: sum(w.numel() for w in net.parameters()) for name, net in nets.items()}
    evaluations = {"cheap": 1, "dear": 16, "drawn": 0, "fake_cam": 0}

    def cost(cell):
        setting = cell.setting
        return weights[setting.model] * len(data[setting.data].images) * evaluations[cell.explainer]

    assert len(set(order)) == len(order) == 16
    costs = [cost(cell) for cell in order]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 9  # eight and nothing
    models = [cell.setting.model for cell in order]
    assert models != sorted(models)


def test_models_beyond_the_memory_meant_for_them_are_given_up_and_loaded_again(monkeypatch):
    nets = [ConvNet() for _ in range(3)]
    comparison = Comparison(
        {f"m{i}": lambda net=net: net for i, net in enumerate(nets)}, marked_images(), AsIs(), TopLeft()
    )
    monkeypatch.setattr(loaded, "_MOST_LOADED", 2 * sum(w.nbytes for w in nets[0].state_dict().values()))
    with LoadedModels(comparison.task, MemoryStorage()) as models:
        assert [models.module(name) for name in ("m0", "m1", "m0", "m2")] == [nets[0], nets[1], nets[0], nets[2]]
        assert models.loads == 3
        models.module("m0")
        assert models.loads == 3
        models.module("m1")  # which was not used for the longest time
        assert models.loads == 4
