from PIL import Image


def test_two_runs_and_one_picture(example, events, tmp_path):
    printed = example("shortcut", "--epochs", "1", "--num-images", "32")
    folder = tmp_path / "shortcut"
    for name in ("clean", "shortcut"):
        found = events(folder / name)
        for key in ("val_accuracy", "xai/pointing_game", "xai/relevance_rank_accuracy"):
            assert len(found.Scalars(key)) == 1, (name, key)
        assert len(found.Images("xai/heatmaps")) == 1
    picture = Image.open(folder / "accuracy_and_localization.png")
    assert picture.width > 1000
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
    assert "clean: the badge names the class in 25% of the images" in printed
    assert "shortcut: the badge names the class in 99% of the images" in printed
    assert "accuracy where the badge says nothing" in printed
