"""Figures of a comparison: what is drawn is what the table says."""

import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import nn

from lightning_xai import Comparison, MaskingCurve, PointingGame, RandomHeatmap, Sample
from lightning_xai.comparison import FGSM, Cell
from lightning_xai.comparison.figures.extremes import extremes
from lightning_xai.functional import deletion_auc
from tests.comparison._made import IMAGES, AsIs, Broken, Counted, Mirrored, TopLeft, marked_images


@pytest.fixture(autouse=True)
def _pyplot_is_left_alone():
    from matplotlib import pyplot as plt

    yield
    assert plt.get_fignums() == []


class Scaled(nn.Module):
    """Pixels times a number are the logits."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        return x.flatten(1)[:, :4] * self.scale


@pytest.fixture(scope="module")
def table():
    explainers = {"a": AsIs(), "b": Mirrored()}
    return Comparison({"m": Counted()}, {"d": marked_images()}, explainers, [PointingGame(), TopLeft()]).run()


def panels(figure):
    """Draw a figure, so that what cannot be drawn raises, and return its panels."""
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def assert_points(axes, across, up):
    (drawn,) = [one.get_offsets() for one in axes.collections if hasattr(one, "get_sizes") and len(one.get_sizes())]
    assert drawn[:, 0].tolist() == pytest.approx(across)
    assert drawn[:, 1].tolist() == pytest.approx(up)


class TestProbability:
    def test_points_and_correlation(self, table):
        drawn = panels(table.plot("probability"))
        assert len(drawn) == 2 * 5
        probabilities = [float(IMAGES[i].flatten().softmax(0)[i]) for i in range(4)]
        of_b = drawn[5 + 1]
        values = [1.0, 3.0, 0.0, 0.0]
        assert_points(of_b, probabilities, values)
        assert of_b.get_title() == f"ρ {stats.spearmanr(probabilities, values).statistic:.2f}".replace("-", "−")
        assert drawn[1].get_title().startswith("b\nρ ")
        assert drawn[3].get_title() == "fake_cam (control)\nρ –"  # constant
        assert drawn[5].get_ylabel() == "top_left ↓"
        assert {axes.get_xlabel() for axes in drawn[5:]} == {"probability of the class"}
        assert drawn[0].get_shared_y_axes().joined(drawn[0], drawn[4])

    def test_an_explainer_that_failed(self):
        found = Comparison(Counted(), marked_images(), {"a": AsIs(), "x": Broken()}, TopLeft()).run()
        assert panels(found.plot("probability"))[1].get_title() == "x\nno values"

    def test_a_part_for_each_setting(self):
        found = Comparison(Counted(), marked_images(), AsIs(), TopLeft(), targets=["label", "predicted"]).run()
        figure = found.plot("probability")
        assert [part.get_suptitle() for part in figure.subfigs] == [str(setting) for setting in found.settings]
        assert len(panels(figure)) == 2 * 4


class TestAccuracy:
    @pytest.fixture
    def of_three(self):
        models = {"plain": Scaled(1.0), "turned": Scaled(-1.0), "weak": Scaled(0.1)}
        return Comparison(models, {"d": marked_images()}, {"a": AsIs()}, ["average_gain", TopLeft()]).run()

    def test_accuracy_of_the_images(self, of_three):
        # the greatest pixels are 0, 1, 0, 3 and the labels 0, 1, 2, 3; the least ones are 2, 2, 1, 1
        found = {row["model"]: row for row in of_three.accuracy()}
        assert {name: row["value"] for name, row in found.items()} == {"plain": 0.75, "turned": 0.0, "weak": 0.75}
        assert found["plain"]["error"] == pytest.approx(0.5 / 2)  # of 1 1 0 1
        assert found["plain"]["images"] == 4

    def test_points_are_the_means(self, of_three):
        figure = of_three.plot("accuracy", accuracy={"plain": 0.9, "turned": 0.2, "weak": 0.7})
        gain = panels(figure)[0]
        means = [row["value"] for row in of_three.mean().where(explainer="a", metric="average_gain")]
        assert_points(gain, [0.9, 0.2, 0.7], means)
        assert [text.get_text() for text in gain.texts] == ["1", "2", "3"]
        assert means[1] < means[2] < means[0]
        assert gain.get_title() == "a\nρ 1.00, p 0.33"  # two of six orders
        (part,) = figure.subfigs
        assert part.get_suptitle() == "d · target=label\n1 plain (0.9) · 2 turned (0.2) · 3 weak (0.7)"
        assert not gain.get_lines()

    def test_checkpoints_are_connected_in_order(self, of_three):
        (line,) = panels(of_three.plot("accuracy", connected=True))[0].get_lines()
        assert line.get_xdata().tolist() == [0.75, 0.0, 0.75]

    def test_what_is_refused(self, table, of_three):
        with pytest.raises(ValueError, match=r"^Expected at least two models to draw over their accuracy, but got 'm'"):
            table.plot("accuracy")
        with pytest.raises(ValueError, match=r"^Expected `accuracy` to hold a number for each model, but turned, weak"):
            of_three.plot("accuracy", accuracy={"plain": 0.9})
        unlabelled = Comparison(
            {"m": Scaled(1.0), "n": Scaled(2.0)}, {"d": Sample(IMAGES)}, AsIs(), TopLeft(), "predicted"
        ).run()
        with pytest.raises(ValueError, match=r"^Expected `accuracy` to hold a number for each model, but m, n"):
            unlabelled.plot("accuracy")


class TestExtremes:
    def test_which_they_are(self, table):
        (setting,) = table.settings
        found = [(one.metric, one.word, one.explainer, one.image) for one in extremes(table, setting)]
        # pointing a: 1 0 1 0, b: 0 1 0 0; first pixel (low is good) a: 4 1 5 .5, b: 1 3 0 0;
        # of equal ones the surest: p = .83 .84 .01 .98
        assert found == [
            ("pointing_game", "best", "a", 0),
            ("pointing_game", "worst", "b", 3),
            ("top_left", "best", "b", 3),
            ("top_left", "worst", "a", 2),
        ]

    def test_what_is_drawn(self, table):
        drawn = panels(table.plot("extremes"))
        first, *others = drawn[:3]
        assert first.get_ylabel() == "pointing_game ↑\nbest"
        assert first.get_xlabel() == f"a\nclass 0, p = {IMAGES[0].flatten().softmax(0)[0]:.2g}"
        assert [axes.get_title() for axes in others] == ["a", "b"]
        assert [axes.get_xlabel() for axes in others] == ["1.000", "0.000"]
        widths = [{spine.get_linewidth() for spine in axes.spines.values()} for axes in others]
        assert widths[0] == {2.5}
        assert widths[1] != {2.5}
        worst = drawn[11]
        heat = worst.get_images()[0].get_array()
        assert worst.get_xlabel() == "0.000"  # of `b`, beside the chosen 5 of `a`
        assert heat.shape == (2, 2, 3)
        assert heat[0, 1].sum() > heat[1, 1].sum()  # the mirrored heatmap: its only heat is right above

    def test_one_setting_at_a_time(self):
        found = Comparison(Counted(), marked_images(), AsIs(), TopLeft(), targets=["label", "predicted"]).run()
        with pytest.raises(ValueError, match=r"^Expected a table of one setting to draw its images, but it has 2"):
            found.plot("extremes")
        assert panels(found.only(targets="label").plot("extremes"))

    def test_images_of_several_sizes_and_signs(self):
        torch.manual_seed(0)
        data = [{"image": torch.rand(1, side, 8), "label": 0} for side in (8, 12, 8)]

        class Signed(AsIs):
            def explain(self, classifier, images, target):
                return images[:, 0] - 0.5

        found = Comparison(Counted(), {"d": data}, {"signed": Signed(), "a": AsIs()}, TopLeft()).run()
        drawn = panels(found.plot("extremes"))
        assert [axes.get_title() for axes in drawn[1:3]] == ["a", "signed"]
        assert drawn[-1].get_xlabel() == "signed heat, each map\nin its own scale"

    def test_images_as_an_attack_left_them(self):
        found = Comparison(Counted(), marked_images(), AsIs(), TopLeft(), transforms={"fgsm": FGSM(0.1)}).run()
        (setting,) = found.settings
        changed = torch.stack([item.image for item in found.behind.images(setting).probe.items])
        assert not torch.allclose(changed, IMAGES)
        explained = torch.stack(found.behind.heatmaps_by_image(Cell(setting, "as_is"), range(4)))
        assert torch.equal(explained, changed[:, 0])  # its heatmap is the image
        assert panels(found.plot("extremes"))
        with found.behind.cases(setting, ["as_is"], [3, 1]) as cases:
            assert torch.equal(cases["as_is"].images, changed[[3, 1]])
            assert torch.equal(cases["as_is"].heatmaps, changed[[3, 1], 0])


class TestCurves:
    def test_means_of_the_kept_heatmaps(self, table):
        curve = MaskingCurve("deletion", num_steps=4)
        figure = table.plot("curves", curves=curve, num_images=4)
        axes = panels(figure)[0]
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        areas = {
            "a": deletion_auc(Counted(), IMAGES, IMAGES[:, 0], torch.arange(4), num_steps=4).mean(),
            "random_heatmap (control)": deletion_auc(
                Counted(), IMAGES, RandomHeatmap()(Counted(), IMAGES, torch.arange(4)), torch.arange(4), num_steps=4
            ).mean(),
        }
        for name, area in areas.items():
            assert f"{name} (area {area:.2f})" in names
        assert len(names) == 5 + 1
        assert axes.get_legend().get_title().get_text() == "mean of 4 images ± standard error"
        mirrored = axes.get_lines()[1].get_ydata()
        assert mirrored[0] == pytest.approx(sum(float(IMAGES[i].flatten().softmax(0)[i]) for i in range(4)) / 4)
        assert mirrored[-1] == pytest.approx(0.25)

    def test_of_some_images(self, table):
        (axes, *_) = panels(table.plot("curves", curves=MaskingCurve(num_steps=2), num_images=2))
        assert axes.get_legend().get_title().get_text() == "mean of 2 images ± standard error"
        with pytest.raises(ValueError, match=r"^Expected `num_images` to be >= 1"):
            table.plot("curves", num_images=0)

    def test_nothing_that_could_be_drawn(self):
        found = Comparison(Counted(), marked_images(), {"x": Broken()}, TopLeft()).run()
        assert len(panels(found.plot("curves", curves=MaskingCurve(num_steps=2)))[0].get_legend().get_texts()) == 3 + 1


class TestAgreement:
    def test_every_pair(self, table):
        (axes,) = panels(table.plot("agreement"))
        row = table.agreement().where(first="a", second="b")[0]
        texts = [text.get_text() for text in axes.texts]
        assert texts[1] == texts[5] == f"{row['value']:.2f} ± {row['error']:.2f}".replace("-", "−")
        assert texts[0] == ""
        assert axes.get_title(loc="left").splitlines()[0] == "m · d · target=label"
        assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["a", "b", "random_heatmap (control)"]

    def test_a_panel_for_each_explainer_between_models(self):
        models = {"m": Scaled(1.0), "n": Scaled(-1.0)}
        found = Comparison(models, {"d": marked_images()}, {"a": AsIs(), "b": Mirrored()}, TopLeft()).run()
        drawn = panels(found.plot("agreement", between="models"))
        assert [axes.get_title(loc="left").splitlines()[0] for axes in drawn] == [
            "d · target=label · a",
            "d · target=label · b",
        ]
        assert [text.get_text() for text in drawn[0].texts] == ["", "1.00 ± 0.00", "1.00 ± 0.00", ""]


def test_unknown_options(table):
    with pytest.raises(TypeError, match=r"^Expected options of the figure 'extremes', which are mean, std, but got ax"):
        table.plot("extremes", Figure().subplots())
    with pytest.raises(TypeError, match=r"^Expected options of the figure 'probability', which are none, but"):
        table.plot("probability", colour="red")
