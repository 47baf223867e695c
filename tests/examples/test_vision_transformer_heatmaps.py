import pytest
from PIL import Image

ROWS = ("GradCAM", "RandomHeatmap", "GradCAM", "AttentionRollout", "TransformerAttribution", "RandomHeatmap")


@pytest.mark.filterwarnings("ignore:GradCAM on a transformer")
def test_both_networks_are_scored_and_drawn(example, tmp_path):
    printed = example("vision_transformer_heatmaps", "--epochs", "1", "--num-images", "32", "--num-explained", "8")
    rows = [line.split() for line in printed.splitlines() if "±" in line]
    assert [next(word for word in row if word in ROWS) for row in rows] == list(ROWS)
    assert all(sum("±" in word for word in row) == 4 for row in rows)
    assert (rows[0][0], rows[2][0]) == ("CNN", "ViT")
    picture = Image.open(tmp_path / "vision_transformer" / "heatmaps.png")
    assert picture.height > 4 * 128
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
