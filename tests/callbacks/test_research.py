"""Everything of ``research.yaml`` at once, in a run that is killed again and again."""

import pytest

from lightning_xai.probing.decisions.effort import Effort
from tests.callbacks._research import ACCURACIES, runs


def test_a_run_that_is_killed_ends_like_one_that_is_not(tmp_path):
    whole, killed = ends = runs(tmp_path)
    overhead = [found.pop("overhead") for found in ends]
    assert killed.keys() == whole.keys()
    for part in whole:
        assert killed[part] == whole[part], part
    assert [row["epoch"] for row in whole["history"]] == list(range(len(ACCURACIES)))
    # 3 s of an epoch leave 1 s; once the choice is made, the killed run explains faster
    assert whole["effort"] == Effort(2)
    assert overhead[1][0] == pytest.approx(overhead[0][0])
    assert all(0.0 < fast < slow for fast, slow in zip(overhead[1][1:], overhead[0][1:], strict=True))
    assert_everything_was_there(whole)


def assert_everything_was_there(whole):
    images = whole["tables"]["research_images.csv"]
    assert len({tuple(row.values()) for row in images}) == len(images)
    assert {row["explainer"] for row in images} > {"grad_cam", "integrated_gradients", "center_heatmap", "control"}
    assert {"research/grad_cam/faithfulness_skill", "research/layer_cam/road"} < whole["history"][-1].keys()
    assert len(whole["maps"]) >= len(ACCURACIES)
    assert len(whole["kept"]) > 1
    assert whole["best"][0] in whole["files"]
    assert "last.ckpt" in whole["files"]
    assert whole["stop"][0] is not None
    assert len(whole["logged"]) == len(ACCURACIES)
