import re
from types import SimpleNamespace

import pytest
import torch
from tensorboard.plugins.custom_scalar import layout_pb2


def test_two_runs_tell_lesion_from_marker(example, events, tmp_path):
    printed = example("chest_xrays", "--epochs", "1", "--num-images", "64", "--num-explained", "4")
    for name in ("plain", "planted"):
        folder = tmp_path / "chest_xrays" / name
        found = events(folder)
        keys = ["val_auroc", "val_auroc_pneumothorax", "xai/faithfulness_gain", "xai/pointing_game"]
        for key in (
            *keys,
            "effusion/reliance/effusion",
            "effusion/reliance/marker",
            "effusion/undefined/nuisance_mass",
        ):
            assert len(found.Scalars(key)) == 1, (name, key)
        assert len(found.Images("xai/heatmaps")) == 1
        layout = events(folder / "xai_charts").Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
        (category,) = layout_pb2.Layout.FromString(layout).category
        charts = [tuple(chart.multiline.tag) for chart in category.chart]
        assert ("^val_auroc$", "^xai/faithfulness_gain$") in [
            tuple(tag.replace("\\", "") for tag in tags) for tags in charts
        ]
    (line,) = re.findall(r"reliance on the marker .*", printed)
    assert line.count("±") == 1  # of the planted one: no image of 16 has an effusion and a marker by chance
    assert "… where the marker says nothing" in printed


def test_numbers_are_of_images_with_effusion(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    from chest_xrays import of_effusion

    nan = torch.nan
    rows = {
        "reliance/effusion": torch.tensor([[0.5, 0.2], [0.7, 0.4], [0.1, -1.0], [nan, nan], [nan, nan]]),
        "reliance/marker": torch.tensor([[0.1, 0.2], [-0.3, 0.4], [nan, nan], [0.9, 0.9], [nan, nan]]),
        "nuisance_mass": torch.tensor([2.0, 4.0, nan, 9.0, nan]),
    }

    class Told:
        latest = SimpleNamespace(scores=lambda name: SimpleNamespace(rows=rows[name]))

    for region, quantity, mean, error in (
        ("effusion", "reliance", 1.3 / 3, (0.56 / 3 / 6) ** 0.5),  # squares from the mean add up to .56 / 3
        ("effusion", "heat", 0.3, 0.1),
        ("marker", "reliance", -0.1, 0.2),
        ("marker", "heat", 0.3, 0.1),
        ("marker", "heat over area", 3.0, 1.0),
    ):
        found = of_effusion(Told, region, quantity)
        assert found.value == pytest.approx(mean)
        assert found.error == pytest.approx(error)
