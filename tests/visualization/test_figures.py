"""Figures of what metrics have seen: the numbers in them are those of the evidence."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from lightning_xai import GradCAM, RandomHeatmap
from lightning_xai.evidence import (
    Case,
    ClassHeatmaps,
    ImputationCurve,
    MaskingCurve,
    Neighbourhood,
    OcclusionMap,
    RandomizedHeatmaps,
    ScaledImages,
    SuperpixelCurve,
)
from lightning_xai.functional import avg_sensitivity, deletion_auc, occlusion_correlation, parameter_randomization
from lightning_xai.visualization import (
    plot_class_heatmaps,
    plot_masking_curve,
    plot_neighbour_heatmaps,
    plot_occlusion_map,
    plot_randomized_heatmaps,
    plot_saturation,
)
from lightning_xai.visualization.heatmap_rows import draw_heatmap_rows
from lightning_xai.visualization.masking_curve import as_comparable_pictures


@pytest.fixture(autouse=True)
def _pyplot_is_left_alone():
    from matplotlib import pyplot as plt

    yield
    assert plt.get_fignums() == []


@pytest.fixture
def case():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return Case(net, torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 1]), explainer=GradCAM())


def drawn(figure):
    """Draw a figure, so that what cannot be drawn raises, and return its axes, without those of colour bars."""
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return [axes for axes in figure.axes if axes not in colour_bars(figure)]


def colour_bars(figure):
    """Axes whose text says that they are colour bars."""
    return [axes for axes in figure.axes if axes.get_xlabel().endswith("in its own scale")]


def captions(axes):
    return [one.get_xlabel() for one in axes]


def titles(axes):
    return [one.get_title() for one in axes]


def test_the_mean_curve_and_its_band_are_the_evidence(case):
    curve = MaskingCurve(num_steps=4)
    axes = drawn(plot_masking_curve(case, curve, image=2, num_frames=3))[0]
    rows = case[curve].double()
    mean, of_image = axes.get_lines()
    assert mean.get_xdata().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert mean.get_ydata().tolist() == pytest.approx(rows.mean(0).tolist())
    assert of_image.get_ydata().tolist() == pytest.approx(rows[2].tolist())
    assert of_image.get_markevery() == [0, 1, 4]
    (band,) = axes.collections
    corners = {(round(float(x), 6), round(float(y), 6)) for x, y in band.get_paths()[0].vertices}
    error = rows.std(0) / 2
    for k in range(5):
        for end in (rows.mean(0)[k] - error[k], rows.mean(0)[k] + error[k]):
            assert (k / 4, round(float(end), 6)) in corners


@pytest.mark.parametrize("direction", ["deletion", "insertion"])
def test_the_default_curve_and_its_frames_follow_the_shares(case, direction):
    curve = MaskingCurve(direction)
    axes = drawn(plot_masking_curve(case, curve, image=1, num_frames=4))
    shares = curve.share_changed(case)[0]
    mean, of_image = axes[0].get_lines()
    assert mean.get_xdata().tolist() == pytest.approx(shares.tolist())
    assert mean.get_label() == f"heatmap (area {curve.area(case).mean():.2f})"
    first, last = float(shares[0]), float(shares[-1])
    wanted = [first + (last - first) * (k / 3) ** 2 for k in range(4)]  # dense where the hottest pixels change
    points = of_image.get_markevery()
    assert points == [min(range(11), key=lambda p: abs(float(shares[p]) - share)) for share in wanted]
    assert titles(axes)[2:] == [f"{100 * float(shares[point]):.0f} %" for point in points]


def test_labels_say_what_is_drawn(case):
    figure = plot_masking_curve(
        {"Grad-CAM": case, "random": case.with_heatmaps(explainer=RandomHeatmap(grid=None))}, MaskingCurve(num_steps=8)
    )
    axes = drawn(figure)[0]
    expected = deletion_auc(case.classifier, case.images, case.heatmaps, case.target, num_steps=8).mean()
    legend = axes.get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    assert names[0] == f"Grad-CAM (area {expected:.2f})"
    assert names[1].startswith("random (area ")
    assert names[2] == "image below"
    assert legend.get_title().get_text() == "mean of 4 images ± standard error"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("share of pixels removed", "probability of the target")


def test_frames_of_the_image_have_their_probability(case):
    curve = MaskingCurve("insertion", 0.25, num_steps=4)
    _, heat, *frames = drawn(plot_masking_curve(case, curve, image=1, num_frames=3))
    assert titles([heat, *frames]) == ["heatmap", "0 %", "25 %", "100 %"]
    assert captions(frames) == [f"p = {case[curve][1, k]:.2f}" for k in (0, 1, 4)]
    pictures = torch.stack([torch.as_tensor(one.get_images()[0].get_array()) for one in frames])
    assert (pictures[0] == 64).all()  # a quarter of 255
    original = (case.images[1] * 255).round().permute(1, 2, 0)
    assert torch.equal(pictures[2].float(), original)
    changed = case[curve.ranking][1, 0] < 64
    assert torch.equal(pictures[1][changed].float(), original[changed])


def test_several_curves_stand_beside_each_other(case):
    figure = plot_masking_curve(case)
    assert [part.axes[0].get_xlabel() for part in figure.subfigs] == [
        "share of pixels removed",
        f"share of {MaskingCurve('insertion').description}",
    ]
    assert titles(drawn(figure)).count("heatmap") == 2


def test_a_curve_without_the_unchanged_image_gets_it(case):
    curve = ImputationCurve((50.0, 80.0))
    axes, _, *frames = drawn(plot_masking_curve(case, curve, num_frames=3))
    assert axes.get_lines()[0].get_xdata().tolist() == pytest.approx([0.0, 0.5, 0.8])
    intact = case.classifier.select(case.logits, case.target, "probability")
    assert axes.get_lines()[1].get_ydata().tolist() == pytest.approx([float(intact[0]), *case[curve][0].tolist()])
    assert titles(frames) == ["0 %", "50 %", "80 %"]


def test_curves_of_different_length_are_compared_by_their_share(case):
    images = torch.rand(3, 3, 24, 24)
    images[1:] = 0.0
    images[1, :, :, 12:] = 1.0
    other = Case(case.classifier, images, 1, heatmaps=torch.rand(3, 24, 24))
    curve = SuperpixelCurve()
    axes, _, *frames = drawn(plot_masking_curve(other, curve, image=1))
    assert len({int((~row.isnan()).sum()) for row in other[curve]}) > 1
    mean = axes.get_lines()[0]
    assert mean.get_xdata()[[0, -1]].tolist() == [0.0, 1.0]
    first, last = other[curve][:, 0].mean(), torch.stack([row[~row.isnan()][-1] for row in other[curve]]).mean()
    assert mean.get_ydata()[[0, -1]].tolist() == pytest.approx([float(first), float(last)])
    assert titles(frames)[-1] == "100 %"


def test_one_image_has_no_band(case):
    one = Case(case.classifier, case.images[:1], 0, heatmaps=case.images[:1, 0])
    assert len(drawn(plot_masking_curve(one, MaskingCurve(num_steps=4)))[0].collections) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (({}, MaskingCurve()), r"Expected at least one of `cases`, but got none\."),
        (("case", []), r"Expected at least one of `curves`, but got none\."),
        (("case", MaskingCurve(), 4), r"Expected `image` to be the number of one of the 4 images, from 0, but got 4\."),
        (("case", MaskingCurve(), 0, 1), r"Expected `num_frames` to be >= 2, but got 1\."),
    ],
)
def test_what_cannot_be_drawn_is_refused(case, arguments, text):
    cases, curves, *rest = arguments
    with pytest.raises(ValueError, match=text):
        plot_masking_curve(
            case if cases == "case" else cases, curves, **dict(zip(("image", "num_frames"), rest, strict=False))
        )


def test_versions_of_one_image_are_stretched_alike():
    images = torch.tensor([[-2.0, 2.0], [0.0, 0.0], [-1.0, 1.0]]).view(3, 1, 1, 2)
    found = as_comparable_pictures(images)[..., 0, :, 0]
    assert found.tolist() == [[0, 255], [128, 128], [64, 191]]
    normalised = as_comparable_pictures(images, mean=0.5, std=0.25)
    assert normalised[2, 0, :, 0].tolist() == [64, 191]


def test_randomised_heatmaps_have_the_similarity_of_the_metric(case):
    evidence = RandomizedHeatmaps(num_steps=2)
    axes = drawn(plot_randomized_heatmaps(case, evidence, num_images=2))
    assert titles(axes)[:4] == ["image", "trained", "top-down 1 / 2", "top-down 2 / 2"]
    assert len(axes) == 2 * 4
    found = [float(text.removeprefix("ρ = ").replace("−", "-")) for text in captions(axes) if text]
    expected = parameter_randomization(
        case.classifier, case.images[:2], GradCAM(), case.target[:2], heatmaps=case.heatmaps[:2], num_steps=2
    )
    assert [sum(found[:2]) / 2, sum(found[2:]) / 2] == pytest.approx(expected.tolist(), abs=0.006)


def test_class_heatmaps_have_names_and_probabilities(case):
    axes = drawn(plot_class_heatmaps(case, ClassHeatmaps(2, among="all"), class_names=["a", "b", "c"], num_images=1))
    probabilities, classes = case.logits[0].softmax(0).sort(descending=True)
    assert titles(axes) == ["image", *("abc"[k] for k in classes[:2])]
    assert captions(axes) == ["", *(f"p = {p:.2f}" for p in probabilities[:2])]
    assert titles(drawn(plot_class_heatmaps(case, num_images=1)))[1:] == [f"class {k}" for k in classes]


def test_occlusion_maps_have_the_correlation_of_the_metric(case):
    evidence = OcclusionMap(grid=(4, 4))
    axes = drawn(plot_occlusion_map(case, evidence, num_images=2))
    expected = occlusion_correlation(case.classifier, case.images, case.heatmaps, case.target, grid=(4, 4))
    largest = evidence.drops(case).flatten(1).amax(1)
    found = [text for text in captions(axes) if text]
    assert found == [f"ρ = {expected[i]:.2f}, at most {largest[i]:.2f}".replace("-", "−") for i in range(2)]


def test_neighbour_heatmaps_have_the_changes_of_the_metric(case):
    axes = drawn(plot_neighbour_heatmaps(case, Neighbourhood(radius=0.1, num_samples=3), num_images=2))
    found = [float(text.removeprefix("change ")) for text in captions(axes) if text]
    expected = avg_sensitivity(case.classifier, case.images[:2], GradCAM(), case.target[:2], radius=0.1, num_samples=3)
    assert [sum(found[:3]) / 3, sum(found[3:]) / 3] == pytest.approx(expected.tolist(), abs=0.006)
    assert titles(axes)[:5] == ["image", "no noise", "copy 1", "copy 2", "copy 3"]
    clean, copy = (torch.as_tensor(axes[k].get_images()[0].get_array()) for k in (1, 2))
    assert not torch.equal(clean, copy)


def test_saturation_curves_are_the_evidence(case):
    evidence = ScaledImages(num_steps=4, target_layer="0")
    (axes,) = drawn(plot_saturation(case, evidence))
    cosine, probability = axes.get_lines()
    assert cosine.get_xdata().tolist() == [0.25, 0.5, 0.75, 1.0]
    assert cosine.get_ydata().tolist() == pytest.approx(case[evidence].cosine.mean(0).tolist(), abs=1e-6)
    expected = case[evidence].logits.softmax(2)[torch.arange(4), :, case.target].mean(0)
    assert probability.get_ydata().tolist() == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("plot", [plot_class_heatmaps, plot_randomized_heatmaps, plot_occlusion_map])
def test_no_row_is_refused(case, plot):
    with pytest.raises(ValueError, match=r"Expected `num_images` to be >= 1, but got 0\."):
        plot(case, num_images=0)


def test_undefined_values_are_said_and_no_more_rows_than_images_are_drawn(case):
    flat = case.with_heatmaps(torch.zeros(4, 16, 16))
    axes = drawn(plot_occlusion_map(flat, OcclusionMap(grid=(2, 2)), num_images=9))
    assert len(axes) == 4 * 3
    assert all(text.startswith("undefined") for text in captions(axes) if text)
    assert not any(math.isnan(v) for one in axes for v in one.get_images()[0].get_array().flatten().tolist())


def test_frames_of_a_refined_curve_say_what_the_model_says():
    class Threshold(torch.nn.Module):
        """Sure of class 1 while less than 9.5 of 224 parts of the image are removed."""

        def forward(self, images):
            margin = 40.0 * (images.mean((1, 2, 3)) > 1 - 9.5 / 224).float() - 20.0
            return torch.stack([torch.zeros_like(margin), margin], 1)

    images, heatmaps = torch.ones(1, 1, 56, 56), torch.rand(1, 56, 56)
    case = Case(Threshold(), images.requires_grad_(), 1, heatmaps=heatmaps)
    figure = plot_masking_curve(case, MaskingCurve("deletion", 0.0, "auto"))
    written = [text for axes in figure.axes for text in captions([axes]) if text.startswith("p = ")]
    assert written == ["p = 1.00", "p = 1.00", *["p = 0.00"] * (len(written) - 2)]


def colours(axes):
    return torch.as_tensor(axes.get_images()[0].get_array()).int()


def test_columns_of_one_quantity_share_the_kind_of_their_colours(case):
    """A warm map without negative values beside one with some is drawn with the warm side of the diverging colours."""
    maps = torch.rand(2, 3, 16, 16)
    maps[1, 2] -= 0.5
    texts = [[""] * 3] * 2
    figure = draw_heatmap_rows(torch.full((2, 3, 16, 16), 0.5), maps, texts, texts)
    (bar,) = colour_bars(figure)
    assert [tick.get_text() for tick in bar.get_xticklabels()] == ["−", "0", "+"]
    for row, column in ((0, 0), (0, 2), (1, 1)):
        shown = colours(figure.axes[row * 4 + 1 + column])
        strongest = divmod(int(maps[row, column].argmax()), 16)
        assert (shown[strongest] - colours(bar)[0, -1]).abs().max() < 20  # over another gray
    two = draw_heatmap_rows(torch.rand(2, 3, 16, 16), maps, texts, texts, quantities=["heat", "heat", "fall"])
    drawn(two)
    assert [bar.get_xlabel().split(",")[0] for bar in colour_bars(two)] == ["heat", "fall"]
    assert [len(bar.get_xticks()) for bar in colour_bars(two)] == [2, 3]


def test_a_colour_bar_stands_below_each_quantity(case):
    occlusion = plot_occlusion_map(case, OcclusionMap(grid=(4, 4)))
    assert [bar.get_xlabel().split(",")[0] for bar in colour_bars(occlusion)] == ["heat", "fall"]
    for plot in (plot_class_heatmaps, plot_randomized_heatmaps, plot_neighbour_heatmaps):
        assert len(colour_bars(plot(case))) == 1


def test_a_map_without_heat_says_so(case):
    flat = case.with_heatmaps(torch.zeros(4, 16, 16))
    axes = drawn(plot_occlusion_map(flat, OcclusionMap(grid=(2, 2)), num_images=1))
    assert [[text.get_text() for text in one.texts] for one in axes] == [[], ["no heat"], []]
    below = drawn(plot_masking_curve(flat, MaskingCurve(num_steps=4), num_frames=2))[1:]
    assert [[text.get_text() for text in one.texts] for one in below] == [["no heat"], [], []]


def test_pictures_of_a_row_are_aligned(case):
    axes = drawn(plot_class_heatmaps(case, num_images=2))
    for row in (axes[:4], axes[4:]):
        assert len({round(one.get_position().y0, 3) for one in row}) == 1
