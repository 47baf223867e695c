import pytest
from PIL import Image

from tests._fashion import write_small_fashion_mnist


def test_it_trains_and_explains(example, events, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_small_fashion_mnist(data, train=48, test=12)
    printed = example("fashion_mnist", "--data", str(data), "--epochs", "1", "--limit", "48", "--seed", "1")
    run = tmp_path / "fashion_mnist" / "version_0"
    found = events(run)
    for key in ("val_accuracy", "xai/faithfulness", "xai/pointing_game", "xai/box_localization"):
        assert len(found.Scalars(key)) == 1, key
    assert len(found.Images("xai/heatmaps")) == 1
    assert Image.open(run / "heatmaps" / "epoch=00.png").height > 4 * 128  # more rows stand beside these
    assert "pointing" in printed


def test_without_data_it_says_how_to_get_them(example, tmp_path):
    with pytest.raises(SystemExit, match="apt install dataset-fashion-mnist") as caught:
        example("fashion_mnist", "--data", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "--download" in str(caught.value)
