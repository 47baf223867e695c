import math
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_xai import Estimate
from lightning_xai.probing import ExplainedEpoch
from tests._fashion import write_small_fashion_mnist

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = ("--epochs", "2", "--num-images", "64", "--num-explained", "4", "--num-held-out", "24")


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import explanation_or_confidence

        yield explanation_or_confidence
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def settings(script):
    return script.parse(TINY)


@pytest.fixture(scope="module")
def run(script, settings, tmp_path_factory):
    return script.finished_run("shapes", 0, settings, tmp_path_factory.mktemp("run"))


def test_what_a_temperature_moves(script, settings, run):
    cold, same, hot = (script.at_temperature(run, factor, settings) for factor in (0.25, 1.0, 4.0))
    assert same["xai/probe_accuracy"] == run.history[-1]["xai/probe_accuracy"]
    for score in script.SCORES[:3]:
        assert same[f"xai/{score}"] == pytest.approx(run.history[-1][f"xai/{score}"], abs=1e-5)
    assert cold["xai/probe_accuracy"] == same["xai/probe_accuracy"] == hot["xai/probe_accuracy"]
    assert cold["xai/probe_confidence"] < same["xai/probe_confidence"] < hot["xai/probe_confidence"]


def test_the_worth_of_an_epoch(run):
    """Recomputed image by image, with the weights that were kept."""
    from lightning_xai import GradCAM

    for epoch in (0, 1):
        module = run.module_at(epoch)
        right, hits, mass = [], [], []
        for index in range(len(run.held_out)):
            item = run.held_out[index]
            image = item["image"][None]
            right.append(int(module(image).argmax()) == item["label"])
            heat = GradCAM()(module, image, torch.tensor([item["label"]]))[0].clamp(min=0)
            is_anywhere = bool(heat.max() > 0)
            hits.append(float(item["mask"][heat == heat.max()].float().mean()) if is_anywhere else 0.0)
            if is_anywhere:
                mass.append(float(heat[item["mask"]].sum() / heat.sum()))
        expected = run.accuracies[epoch], sum(right) / len(right), sum(hits) / len(hits), sum(mass) / len(mass)
        assert run.worth(epoch) == pytest.approx(expected, abs=1e-5)
    assert run.worth(None) == run.worth(1)
    assert [run.accuracies[epoch] for epoch in range(2)] == pytest.approx(_accuracies(run))


def _accuracies(run):
    found = []
    for epoch in range(2):
        right = [run.module_at(epoch)(batch["image"]).argmax(1) == batch["label"] for batch in run.validation]
        found.append(float(torch.cat(right).float().mean()))
    return found


def history_of(values, key="faithfulness"):
    return [ExplainedEpoch(epoch, epoch, "fit", {f"xai/{key}": Estimate(value)}) for epoch, value in enumerate(values)]


@pytest.mark.usefixtures("script")
def test_rules_by_hand():
    from _shared.rules import highest, most_accurate, plain_stop

    assert plain_stop(history_of([0.1, 0.3, 0.2, 0.2, 0.3])) == 4
    assert plain_stop(history_of([0.1, 0.3, 0.2, 0.2, 0.4, 0.3])) is None
    assert highest(history_of([0.1, math.nan, 0.4, 0.4]), "xai/faithfulness") == 2
    assert highest(history_of([math.nan]), "xai/faithfulness") is None
    assert most_accurate({0: 0.5, 1: 0.75, 2: 0.75}) == 1


def test_means_and_errors_by_hand(script):
    found = script.over_images([Estimate(1.0, 0.3), Estimate(2.0, 0.4)])
    assert (found.value, found.error) == pytest.approx((1.5, 0.25))
    found = script.over_runs([1.0, 2.0, 3.0])
    assert (found.value, found.error) == pytest.approx((2.0, 1 / math.sqrt(3)))
    assert script.cell([0.5, 0.7], [0.5, 0.7]) == "0.600"
    assert script.cell([0.5, 0.7], [0.6, 0.9]) == "0.600 (-0.150 ± 0.050)"
    assert script.markdown(iter([("a", "b"), ("1", "2")])) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_the_marker_says_nothing_where_worth_is_measured(settings):
    from _shared.finished_run import split_of

    given = {**vars(settings), "num_images": 1200, "num_held_out": 300, "image_size": 48}
    parts = split_of("xrays", 1, Namespace(**given))
    for part, correlation in zip(parts, (0.95, 0.95, 0.0), strict=True):
        labels = part.xrays.labels[:, part.place].float()
        marked = part.xrays.marker_masks.flatten(1).any(1).float()
        assert float(torch.corrcoef(torch.stack([labels, marked]))[0, 1]) == pytest.approx(correlation, abs=0.12)
        shown = part[int(labels.argmax())]
        assert int(shown["label"]) == 1
        assert bool(shown["mask"].any())
    assert len({part.xrays.seed for part in parts}) == 3


def test_the_badge_says_nothing_where_worth_is_measured(settings):
    from _shared.finished_run import split_of

    train, validation, held_out = split_of(
        "badge", 1, Namespace(**{**vars(settings), "num_images": 800, "num_held_out": 400})
    )
    agreement = [float((part.badge_classes == part.labels).float().mean()) for part in (train, validation, held_out)]
    assert agreement == pytest.approx([0.95, 0.95, 0.25], abs=0.06)
    assert len({part.seed for part in (train, validation, held_out)}) == 3


def test_the_script_on_garments(example, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_small_fashion_mnist(data, train=64, test=40)
    printed = example("explanation_or_confidence", *TINY, "--data", "fashion", "--seeds", "3", "--folder", str(data))
    folder = tmp_path / "explanation_or_confidence"
    tables = (folder / "tables.md").read_text(encoding="utf-8")
    assert printed.startswith(tables.rstrip())
    lines = [line.strip("| ").split(" | ") for line in tables.splitlines() if line.startswith("| ")]
    assert [line[0] for line in lines[:7]] == ["logits ×", "0.25", "0.5", "1", "2", "4", "**4 minus 0.25**"]
    assert [line[0] for line in lines[7:10]] == ["rule", "the last epoch", "highest validation accuracy"]
    assert [len(line) for line in lines] == [8] * 7 + [6] * 12
    assert lines[8][1] == "1"
    assert 'ExplanationCheckpoint(rule="pareto")` chooses the same epochs and keeps: ' in tables
    for name in ("temperature.png", "epochs.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200


def test_without_garments_it_says_what_to_do(example, tmp_path):
    with pytest.raises(SystemExit, match=r"apt install dataset-fashion-mnist.*--data shapes"):
        example("explanation_or_confidence", "--data", "fashion", "--folder", str(tmp_path / "nowhere"))
