from PIL import Image

ROWS = ("GradCAM", "IntegratedGradCAM", "ExpectedGradCAM", "RandomHeatmap")


def test_both_networks_are_scored_and_drawn(example, tmp_path):
    printed = example("saturation", "--epochs", "1", "--num-images", "32", "--num-explained", "8")
    rows = [line.split() for line in printed.splitlines() if "±" in line]
    assert [next(word for word in row if word in ROWS) for row in rows] == [*ROWS, *ROWS]
    assert all(sum("±" in word for word in row) == 4 for row in rows)
    assert all("0.000 ±.000" in " ".join(row) for row in (rows[0], rows[4]))  # Grad-CAM's difference from itself
    assert printed.count("logit at half intensity") == 2
    picture = Image.open(tmp_path / "saturation" / "heatmaps.png")
    assert picture.height > 4 * 128
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
