"""Transforms as an axis: by name, in files, in the footer, and what they leave of the annotations."""

import pytest
import torch
import yaml

from lightning_xai import (
    FGSM,
    Comparison,
    Crop,
    GaussianNoise,
    MixUp,
    OnePixel,
    Resize,
    Rotation,
    Sample,
    get_transform,
    list_transforms,
)
from lightning_xai.cli.main import main, with_lists
from lightning_xai.comparison.transforms.named import transforms_by_name
from lightning_xai.comparison.transforms.registry import TRANSFORMS
from tests.comparison._made import AsIs, Counted, Mirrored, TopLeft, evaluations_of, marked_images

MADE = "tests.comparison._made"


def upside_down(sample):
    return Sample(sample.images.flip(2), sample.labels, masks=sample.masks.flip(1))


class TestNames:
    def test_forms_and_names(self):
        given = ["none", "rotation:15", "crop:0.8", "one_pixel", Resize((9, 9)), FGSM(), upside_down]
        found = transforms_by_name(given)
        names = ["none", "rotation_15", "crop_0.8", "one_pixel", "resize_9x9", "fgsm_0.00784314", "upside_down"]
        assert list(found) == names
        assert found["none"] is None
        assert repr(found["rotation_15"]) == "Rotation(degrees=15, fill=0.0)"
        assert repr(found["crop_0.8"]) == "Crop(share=0.8)"
        assert found["upside_down"] is upside_down
        by_path = transforms_by_name({"a": f"{__name__}.upside_down", "b": "lightning_xai.FGSM", "c": None})
        assert by_path["a"] is upside_down
        assert repr(by_path["b"]) == repr(FGSM())
        assert transforms_by_name(None) == transforms_by_name("none") == {"none": None}
        assert list(transforms_by_name(MixUp(0.2))) == ["mix_up_0.2"]

    def test_the_list(self):
        assert list_transforms() == sorted(TRANSFORMS.builtin)
        assert repr(get_transform("rotation", degrees=5)) == repr(Rotation(5))

    @pytest.mark.parametrize(
        ("given", "error", "text"),
        [
            ("rotate:15", ValueError, r"Did you mean 'rotation'\?"),
            ("rotation", ValueError, "^Expected `transforms` to say how strong 'rotation' is, such as 'rotation:0.5'"),
            ("rotation:left", ValueError, "could not convert string to float: 'left'"),
            ("no.such:turn", ValueError, "^Expected 'no.such:turn' to be the path of something"),
            (
                [Rotation(15), "rotation:15"],
                ValueError,
                "^Expected `transforms` with different names, but got two 'rot",
            ),
            ([], ValueError, "^Expected `transforms` to hold at least one"),
            ([15], TypeError, "^Expected `transforms` to hold transforms, functions of a Sample"),
        ],
        ids=range(7),
    )
    def test_what_is_no_transform(self, given, error, text):
        with pytest.raises(error, match=text):
            transforms_by_name(given)


def test_a_comparison_by_words_on_the_command_line(tmp_path, capsys):
    given = ["--models", f"{MADE}.Counted", "--data", f"{MADE}.marked_images", "--device", "cpu"]
    given += ["--explainers", "saliency", "--metrics", "average_drop", "--output", str(tmp_path / "out")]
    assert with_lists(["--transforms", "none", "rotation:15"]) == ['--transforms=["none", "rotation:15"]']
    words = ["--transforms", "alpha_scaling:0.5", "fgsm:0.1", "--targets", "label", "top_2"]
    status, seen = evaluations_of(lambda: main(["compare", *given, *words]))
    assert (status, seen > 0) == (0, True)
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.count("**Counted · marked_images") == 4
    assert "· fgsm_0.1 · target=top_2**" in text
    assert "| fgsm_0.1 | FGSM(epsilon=0.1, against='label', absolute=False) | epsilon=0.1 |" in text
    assert "| alpha_scaling_0.5 | AlphaScaling(alpha=0.5, baseline=0.0) | alpha=0.5 |" in text
    status, again = evaluations_of(lambda: main(["compare", *given, *words]))
    assert (status, again) == (0, 0)
    capsys.readouterr()
    assert main(["compare", *given, "--transforms", "rotate:15"]) == 2
    assert "Did you mean 'rotation'?" in capsys.readouterr().err
    assert main(["list", "transforms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list_transforms()
    assert next(line for line in lines if line.startswith("| one_pixel |")).endswith("| yes |")


def test_every_setting_of_post_processing_by_yaml_and_in_the_footer(tmp_path, capsys):
    """The tie rule, the reduction of channels, the normalisation: what decides a paper's number."""

    def of(name, **settings):
        return {"class_path": f"lightning_xai.{name}", "init_args": settings}

    config = {
        "models": [f"{MADE}.Counted"],
        "data": {"d": f"{MADE}.marked_images"},
        "explainers": {
            "largest": of("Saliency", reduction="max"),
            "scaled": of("Normalized", explainer=of("Saliency", reduction="sum"), how="signed_minmax"),
        },
        "metrics": {"last": of("DeletionAUC", ties="last"), "first": of("DeletionAUC", ties="first")},
        "transforms": {"none": None, "turned": of("Rotation", degrees=90, fill="mean")},
    }
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump({**config, "readout": {"task": "multiclass"}, "seed": 3}))
    given = ["--config", str(tmp_path / "compare.yaml"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["compare", *given]) == 0
    capsys.readouterr()
    text = (tmp_path / "out" / "table.md").read_text()
    footer = text[text.index("**Settings**") :].splitlines()
    changed = {
        line.split(" | ")[0].removeprefix("| "): line.rsplit(" | ", 1)[1].removesuffix(" |") for line in footer[4:-4]
    }
    assert changed["largest"] == "reduction='max'"
    assert changed["scaled"] == "explainer=Saliency(reduction='sum'), how='signed_minmax'"
    assert changed["last"] == "ties='last'"
    assert changed["first"] == "ties='first'"
    assert changed["turned"] == "degrees=90, fill='mean'"
    assert changed["fake_cam"] == "–"
    assert changed["random_heatmap"] == "seed=3"
    assert "task='multiclass'" in footer[-1]
    assert "seed=3" in footer[-1]
    means = {}
    for line in (tmp_path / "out" / "means.csv").read_text().splitlines()[1:]:
        cells = line.split(",")
        means[tuple(cells[:6])] = cells[6]
    place = ("Counted", "d", "none", "label", "fake_cam")
    assert means[(*place, "last")] != means[(*place, "first")]  # of a map of equal values nothing but ties decides


def test_a_setting_of_a_transform_is_another_file(tmp_path):
    def seen(*transforms):
        comparison = Comparison(
            Counted(), marked_images(), {"a": AsIs()}, "average_drop", output=tmp_path, transforms=transforms
        )
        return evaluations_of(comparison.run)[1]

    each = 4 * (1 + 4)
    assert seen(GaussianNoise(0.1), FGSM(0.1)) == 2 * each + 4 * 2
    assert seen(GaussianNoise(0.1), FGSM(0.1)) == 0
    assert seen(GaussianNoise(0.2), FGSM(0.1)) == each
    assert seen(GaussianNoise(0.2), FGSM(0.2)) == each + 4 * 2
    assert seen(FGSM(0.2, against="predicted")) == each + 4 * 2
    assert len(list((tmp_path / "values").iterdir())) == 5 * 4
    assert len(list((tmp_path / "images").iterdir())) == 3  # attacks


def test_attacked_images_are_kept_for_what_comes_later(tmp_path):
    def seen(explainers, metrics, targets="label"):
        comparison = Comparison(
            Counted(), marked_images(), explainers, metrics, targets, OnePixel(8, 3), output=tmp_path
        )
        table, number = evaluations_of(comparison.run)
        assert not table.failures
        return number

    attack, logits, masked = 4 * OnePixel(8, 3).evaluations, 4, 4
    assert seen({"a": AsIs()}, "average_drop") == attack + logits + 4 * masked
    assert seen({"a": AsIs()}, ["average_drop", "sparseness"]) == logits  # of the facts about the images
    assert seen({"a": AsIs(), "b": Mirrored()}, "average_drop", ["label", "predicted"]) == 2 * logits + 6 * masked
    (path,) = (tmp_path / "images").iterdir()
    kept = torch.load(path, weights_only=True)
    expected = OnePixel(8, 3)(marked_images(), Counted()).images
    assert torch.equal(kept, expected)
    path.unlink()
    assert seen({"a": AsIs()}, ["average_gain"]) == attack + logits + 4 * masked


class TestOutOfView:
    def data(self):
        masks, region = torch.zeros(3, 8, 8, dtype=torch.bool), torch.zeros(3, 8, 8, dtype=torch.bool)
        masks[0, 3, 3] = masks[1, 0, 0] = region[0, 7, 7] = region[2, 4, 4] = True
        return Sample(torch.rand(3, 1, 8, 8), torch.arange(3), masks=masks, regions={"marker": region})

    def net(self):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))

    def test_it_is_said_and_metrics_are_undefined_there(self):
        transforms = {"none": None, "crop": Crop(0.5)}
        metrics = ["pointing_game", TopLeft()]
        table = Comparison(self.net(), {"d": self.data()}, {"a": AsIs()}, metrics, transforms=transforms).run()
        undefined = {(row["transform"], row["metric"]): row["undefined"] for row in table.mean().where(explainer="a")}
        assert undefined["none", "pointing_game"] == 1  # one image has no object
        assert undefined["crop", "pointing_game"] == 2
        assert undefined["crop", "top_left"] == 0
        text = table.to_markdown()
        said = "an annotated object of 1 of 3 images is no longer in the picture: metrics of it are undefined there."
        assert said in text
        assert "the region 'marker' of 1 of 3 images is no longer in the picture" in text
        assert text.count("no longer in the picture") == 2

    def test_one_box_of_two(self):
        boxes = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [3.0, 3.0, 5.0, 5.0]]])
        data = Sample(torch.rand(1, 1, 8, 8), torch.tensor([0]), boxes=boxes, box_labels=torch.tensor([[0, 1]]))
        table = Comparison(self.net(), {"d": data}, {"a": AsIs()}, "pointing_game", [0, 1], {"crop": Crop(0.5)}).run()
        undefined = {row["target"]: row["undefined"] for row in table.mean().where(explainer="a")}
        assert undefined == {0: 1, 1: 0}
        assert "an annotated object of 1 of 1 images is no longer in the picture" in table.to_markdown()

    def test_a_function_that_forgets_the_masks(self):
        table = Comparison(
            self.net(),
            {"d": self.data()},
            {"a": AsIs()},
            [TopLeft()],
            transforms={"f": lambda s: Sample(s.images, s.labels)},
        ).run()
        assert "an annotated object of 2 of 3 images is no longer in the picture" in table.to_markdown()


class TestDatasetsOfMappings:
    """What readers of VOC and COCO return: images of several sizes with boxes, each of its class."""

    def data(self):
        items = []
        for place, (size, boxes, classes) in enumerate(
            [((10, 12), [[1, 1, 5, 6], [6, 2, 11, 9]], [0, 2]), ((8, 8), [[2, 2, 7, 7]], [1]), ((10, 12), [], [])]
        ):
            image = torch.rand(3, *size, generator=torch.Generator().manual_seed(place))
            boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
            label = classes[0] if classes else 3
            items.append(
                {
                    "image": image,
                    "label": label,
                    "boxes": boxes,
                    "box_labels": torch.tensor(classes),
                    "id": f"{place}.jpg",
                }
            )
        return items

    def net(self):
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        return torch.nn.Sequential(*layers)

    @pytest.mark.parametrize("transform", [None, Rotation(90), Crop(0.9), Resize(16)], ids=repr)
    def test_boxes_of_the_explained_class_are_scored(self, transform):
        metrics = ["pointing_game", "box_localization", "relevance_mass_accuracy"]
        table = Comparison(self.net(), {"d": self.data()}, ["grad_cam"], metrics, transforms={"t": transform}).run()
        assert not table.failures
        (setting,) = table.settings
        found = table.of(setting, "grad_cam", "pointing_game")
        assert found.facts.ids == ("0.jpg", "1.jpg", "2.jpg")
        assert found.facts.target.tolist() == [0, 1, 3]
        assert found.rows.isnan().tolist() == [False, False, True]
        center = table.of(setting, "center_heatmap", "pointing_game").rows
        assert center[:2].tolist() == [0.0, 1.0]  # whatever is done about the centre
