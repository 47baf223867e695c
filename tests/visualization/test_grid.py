import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lightning_xai.visualization
from lightning_xai.visualization import as_pictures, boxed, heatmap_grid, overlay
from lightning_xai.visualization.contours import contours_of_masks, with_region
from lightning_xai.visualization.page import Page
from lightning_xai.visualization.page_layout import PageLayout, PictureSize, font, text_width

_PAPER = 255


_FOLDER = Path(lightning_xai.visualization.__file__).parent


def batch(num=3, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num, 3, side, side, generator=generator), torch.rand(num, side, side, generator=generator)


def cells(grid, layout):
    """Cut the pictures out of a page: {(row, column): uint8 (h, w, 3)}."""
    pictures = {}
    for row in range(layout.num_rows):
        for column in range(layout.num_columns):
            top = layout.row_center(row) - layout.picture_height // 2
            left = layout.column_center(column, row) - layout.picture_width // 2
            pictures[row, column] = grid[top : top + layout.picture_height, left : left + layout.picture_width]
    return pictures


def enlarged(pictures, factor):
    return pictures.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)


def test_every_cell_holds_its_image_and_its_overlay():
    images, first = batch()
    _, second = batch(seed=1)
    layout = PageLayout(3, 3, 160, 160, has_legend=True)
    grid = heatmap_grid(images, {"first": first, "second": second - 0.5})
    assert grid.shape == (replace(layout, note_lines=1).height, layout.width, 3)
    assert grid.dtype == torch.uint8
    at = cells(grid, layout)
    columns = [as_pictures(images), overlay(images, first), overlay(images, second - 0.5)]
    for column, pictures in enumerate(columns):
        for row, picture in enumerate(enlarged(pictures, 5)):
            # The intensities of 160 x 160 pixels saturate at the same value as those of 32 x 32, up to one pixel.
            difference = (at[row, column].int() - picture.int()).abs()
            assert float((difference > 4).float().mean()) < 0.01


def test_normalisation_is_undone_exactly():
    images, heatmaps = batch()
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    normalised = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    layout = PageLayout(3, 2, 160, 160, has_legend=True)
    at = cells(heatmap_grid(normalised, {"map": heatmaps}, mean=mean, std=std), layout)
    difference = at[0, 0].int() - enlarged(as_pictures(images), 5)[0].int()
    assert int(difference.abs().max()) <= 1


def test_the_page_is_white_around_everything():
    images, heatmaps = batch()
    long_text = "a name far too long for its place on the page " * 4
    grid = heatmap_grid(
        images, {"a" * 60: heatmaps}, captions=[long_text] * 3, correct=[True, False, True], title=long_text
    )
    margin = PageLayout(3, 2, 160, 160).margin
    inner = torch.full(grid.shape[:2], False)
    inner[margin:-margin, margin:-margin] = True
    assert bool((grid[~inner] == _PAPER).all())


def test_captions_change_the_panel_and_nothing_else():
    images, heatmaps = batch()
    captions = ["label cat\n0.93", "label dog\n0.51", "label owl\n0.40"]
    first = heatmap_grid(images, {"map": heatmaps}, captions=captions)
    captions[1] = "label god\n0.51"
    second = heatmap_grid(images, {"map": heatmaps}, captions=captions)
    layout = PageLayout(3, 2, 160, 160, has_legend=True)
    assert first.shape == second.shape
    assert first.shape[1] > layout.width
    rows, columns = (torch.unique(index) for index in (first != second).any(dim=-1).nonzero().T)
    middle, panel = layout.row_center(1), first.shape[1] - layout.width
    assert middle - 20 < int(rows.min()) <= int(rows.max()) < middle + 20
    assert int(columns.max()) < panel


def test_right_is_green_and_wrong_is_red():
    images, heatmaps = batch(num=2)
    grid = heatmap_grid(images, {"map": heatmaps}, correct=torch.tensor([True, False])).int()
    layout = PageLayout(2, 2, 160, 160, has_legend=True)
    right, wrong = (grid[layout.row_center(row) - 40, layout.margin] for row in (0, 1))
    assert right.argmax() == 1
    assert wrong.argmax() == 0


def test_a_title_is_written_above_and_moves_the_rest_down():
    images, heatmaps = batch()
    plain, titled = heatmap_grid(images, {"map": heatmaps}), heatmap_grid(images, {"map": heatmaps}, title="epoch 3")
    added = titled.shape[0] - plain.shape[0]
    assert added > 0
    margin = PageLayout(3, 2, 160, 160).margin
    assert torch.equal(titled[margin + added :], plain[margin:])
    assert bool((titled[: margin + added] < 100).any())


def test_masks_and_boxes_are_outlined_on_every_column():
    images, heatmaps = batch(num=2)
    images = images * 0 + 0.5
    masks = torch.zeros(2, 32, 32)
    masks[0, 8:16, 8:16] = 1
    boxes = [torch.zeros(0, 4), torch.tensor([[4.0, 4.0, 20.0, 28.0]])]
    layout = PageLayout(2, 2, 160, 160, has_legend=True)
    at = cells(heatmap_grid(images, {"map": heatmaps * 0}, masks=masks, boxes=boxes), layout)
    for column, gray in ((0, 128), (1, 58)):
        mask_cell, box_cell = at[0, column][..., 0], at[1, column][..., 0]
        assert [mask_cell[60, column].item() for column in (38, 39, 40, 41, 42)] == [gray, 0, 255, 255, gray]
        assert [box_cell[row, 60].item() for row in (18, 19, 20, 21, 22)] == [gray, 0, 255, 255, gray]
        assert [box_cell[row, 60].item() for row in (137, 138, 139, 140, 141)] == [gray, 255, 255, 0, gray]


def test_a_map_without_heat_stays_gray_beside_one_with_heat():
    images, heatmaps = batch(num=2)
    heatmaps[0] = 0.0
    at = cells(heatmap_grid(images, {"map": heatmaps}), PageLayout(2, 2, 160, 160, has_legend=True))
    without, with_heat = at[0, 1].int(), at[1, 1].int()
    away_from_the_words = torch.ones(160, 160, dtype=torch.bool)
    away_from_the_words[60:100, 40:120] = False
    assert bool((without[..., 0] == without[..., 2])[away_from_the_words].all())
    assert bool((with_heat[..., 0] != with_heat[..., 2]).any())


def test_the_legend_shows_the_colours_in_use():
    images, heatmaps = batch()
    layout = PageLayout(3, 3, 160, 160, has_legend=True)
    grid = heatmap_grid(images, {"plain": heatmaps, "signed": heatmaps - 0.5}).int()
    for column, signed in ((1, False), (2, True)):
        start = layout.column_center(column) - layout.column_width // 2
        line = grid[layout.legend_center - 2, start : start + layout.column_width].numpy()
        colored = np.flatnonzero(np.ptp(line, axis=-1) > 30)
        first, middle, last = line[colored[0]], line[(colored[0] + colored[-1]) // 2], line[colored[-1]]
        assert last[0] > last[2] + 60
        assert (np.ptp(middle) < 60) == signed
        assert (first[2] > first[0] + 60) == signed


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 90, 240), (4, 300, 40), (2, 1, 1)])
def test_any_shape_of_image(shape):
    images, heatmaps = torch.rand(2, *shape), torch.rand(2, *shape[1:])
    grid = heatmap_grid(images, {"one": heatmaps}, captions=["a\nb\nc\nd\ne\nf\ng\nh\ni"] * 2, masks=heatmaps > 0.5)
    assert grid.shape[0] > 2 * 9 * 17  # rows are as high as their captions


def test_half_precision_and_inference_tensors_are_drawn_the_same():
    images, heatmaps = batch()
    heatmaps = heatmaps.bfloat16()
    expected = heatmap_grid(images, {"map": heatmaps.float()}, masks=heatmaps > 0.9, cell_size=64)
    with torch.inference_mode():
        inputs = images.clone(), {"map": heatmaps.clone()}
        drawn = heatmap_grid(*inputs, masks=heatmaps.clone() > 0.9, cell_size=64)
    assert torch.equal(drawn, expected)
    assert torch.equal(heatmap_grid(*inputs, masks=heatmaps > 0.9, cell_size=64), expected)


def files_run_by(call):
    """Names of the files of the folder `visualization` whose functions a call runs."""
    files = set()
    sys.setprofile(lambda frame, *_: files.add(Path(frame.f_code.co_filename)))
    try:
        call()
    finally:
        sys.setprofile(None)
    return {file.name for file in files if file.parent == _FOLDER}


def test_a_grid_runs_through_four_files_and_annotations_through_one_more():
    images, heatmaps = batch()
    plain = {"grid.py", "page.py", "page_layout.py", "pictures.py"}
    assert files_run_by(lambda: heatmap_grid(images, {"map": heatmaps}, captions=["a"] * 3, title="b")) == plain
    assert files_run_by(lambda: heatmap_grid(images, {"map": heatmaps}, masks=heatmaps)) == {*plain, "contours.py"}


def test_annotations_of_nothing_leave_the_grid_as_it_is():
    images, heatmaps = batch()
    plain = heatmap_grid(images, {"map": heatmaps})
    assert torch.equal(heatmap_grid(images, {"map": heatmaps}, masks=heatmaps * 0), plain)
    assert torch.equal(heatmap_grid(images, {"map": heatmaps}, boxes=[torch.zeros(0, 4)] * 3), plain)


def test_boxes_are_drawn_above_masks():
    images, heatmaps = batch(num=1)
    masks, boxes = heatmaps > 0.5, torch.tensor([[4.0, 4.0, 20.0, 28.0]])
    layout = PageLayout(1, 2, 160, 160, has_legend=True)
    both, alone = (
        cells(heatmap_grid(images, {"map": heatmaps}, boxes=boxes, **more), layout)[0, 0]
        for more in ({"masks": masks}, {})
    )
    on_gray = boxed(torch.full((1, 160, 160, 3), 128, dtype=torch.uint8), boxes * 5, width=2)[0]
    contour = (on_gray != 128).all(dim=-1)
    assert torch.equal(both[contour], on_gray[contour])
    assert torch.equal(alone[contour], on_gray[contour])
    assert not torch.equal(both, alone)


def test_nothing_global_changes():
    from matplotlib import rcParams

    images, heatmaps = batch()
    settings, state = dict(rcParams), torch.get_rng_state()
    heatmap_grid(images, {"map": heatmaps}, captions=["a"] * 3)
    assert dict(rcParams) == settings
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heatmaps": {}}, "`heatmaps` to hold at least one explainer's maps by name, but it is empty"),
        ({"heatmaps": {"rise": torch.rand(3, 8, 8)}}, r"`heatmaps\[\"rise\"\]` .* got \(3, 8, 8\) for images"),
        ({"images": torch.rand(0, 3, 32, 32)}, "`images` to hold at least one image, but it is empty"),
        ({"captions": ["a"]}, "`captions` to have one entry per image, 3, but got 1"),
        ({"correct": [True]}, "`correct` to have one entry per image, 3, but got 1"),
        ({"masks": torch.rand(3, 8, 8)}, r"`masks` .* match `images` .* got \(3, 8, 8\)"),
        ({"boxes": torch.rand(2, 4)}, "`boxes` to have one entry for each of the 3 images, but got 2"),
        ({"cell_size": 8}, "`cell_size` to be at least 32 pixels, but got 8"),
    ],
)
def test_errors(changes, message):
    images, heatmaps = batch()
    with pytest.raises(ValueError, match=message):
        heatmap_grid(**{"images": images, "heatmaps": {"map": heatmaps}, **changes})


@pytest.mark.parametrize(("num_images", "num_blocks"), [(4, 1), (5, 2), (8, 2), (9, 3)])
def test_more_than_four_rows_stand_in_blocks_beside_each_other(num_images, num_blocks):
    images, heatmaps = batch(num=num_images)
    captions, correct = ["label a"] * num_images, [True, False, None, *[True] * (num_images - 3)]
    grid = heatmap_grid(images, {"map": heatmaps}, captions=captions, correct=correct)
    text_size = 12 if num_blocks == 1 else 18
    width = 2 * text_size + text_width("label a", font(text_size))
    layout = PageLayout(
        num_images, 2, 160, 160, text_size, width, 1, has_legend=True, note_lines=1, num_blocks=num_blocks
    )
    assert grid.shape == (layout.height, layout.width, 3)
    at = cells(grid, layout)
    for row, picture in enumerate(enlarged(as_pictures(images), 5)):
        assert torch.equal(at[row, 0], picture)
        bar = grid[layout.row_center(row), layout.indent(row) + layout.margin].tolist()
        assert bar == {True: [26, 127, 55], False: [207, 34, 46], None: [255, 255, 255]}[correct[row]]


def test_blocks_do_not_overlap():
    layout = PageLayout(8, 3, 100, 100, 18, 200, 5, num_blocks=2)
    assert [layout.row_center(row) for row in range(4)] == [layout.row_center(row) for row in range(4, 8)]
    right_of_first = layout.column_center(2) - layout.column_width // 2 + layout.column_width
    assert layout.indent(4) + layout.margin > right_of_first
    assert layout.column_center(2, 7) - layout.column_width // 2 + layout.column_width == layout.width - layout.margin


def drawn_without_plates(monkeypatch, images, maps):
    """The labels that are written on the maps."""
    labels = []
    monkeypatch.setattr(Page, "_write_label", lambda _, pen, row, index, label: labels.append((row, index, label)))
    heatmap_grid(images, {"map": maps})
    return [label for _, index, label in labels if index == 1]


def test_blank_maps_say_why(monkeypatch):
    images, maps = batch(num=4, side=16)
    maps[1], maps[2], maps[3] = 0.0, 0.25, torch.nan
    assert drawn_without_plates(monkeypatch, images, maps) == ["", "no heat", "constant", "not finite"]
    maps[0] -= 0.5  # the same where the column is signed
    assert drawn_without_plates(monkeypatch, images, maps) == ["", "no heat", "constant", "not finite"]


def test_a_blank_map_does_not_look_like_its_gray_image():
    gray, maps = torch.full((2, 1, 32, 32), 0.5), torch.zeros(2, 32, 32)
    at = cells(heatmap_grid(gray, {"map": maps}), PageLayout(2, 2, 160, 160, has_legend=True))
    assert int(at[0, 0][10, 10, 0]) - int(at[0, 1][10, 10, 0]) > 50
    assert bool((at[0, 1] > 200).any())  # letters


def test_what_is_written_at_the_foot(monkeypatch):
    written = []
    monkeypatch.setattr(Page, "_write_notes", lambda page, _: written.append(page.notes))
    images, maps = batch()
    heatmap_grid(images, {"map": maps})
    heatmap_grid(images.repeat(1, 2, 1, 1), {"map": maps}, notes=["a note"])
    assert written == [
        ("each heatmap has its own scale",),
        ("each heatmap has its own scale", "a note", "channels 0, 1, 2 of 6, stretched from 2 % to 98 %"),
    ]


class TestRegions:
    """Named areas are outlined in colours, and their names stand at the foot."""

    def regions(self, images):
        areas = torch.zeros(2, len(images), *images.shape[2:])
        areas[0, :, 2:8, 2:8], areas[1, :1, 10:14, 1:9] = 1, 1
        return dict(zip(("lesion", "marker"), areas, strict=True))

    def test_only_outlines_are_drawn(self):
        images, heatmaps = batch(num=2)
        layout = PageLayout(2, 2, 160, 160, has_legend=True)
        regions = self.regions(images)
        plain = cells(heatmap_grid(images, {"map": heatmaps}), layout)
        drawn = cells(heatmap_grid(images, {"map": heatmaps}, regions=regions), layout)
        size = PictureSize(*images.shape[2:], 160)
        for row in range(2):
            for column in range(2):
                expected = plain[row, column]
                for number, area in enumerate(regions.values()):
                    contours = contours_of_masks(size.resized_masks(area[row : row + 1]), 1)
                    expected = with_region(expected[None], contours, number)[0]
                assert torch.equal(drawn[row, column], expected)
        assert not torch.equal(drawn[0, 0], drawn[1, 0])  # which lacks the second region

    def test_names_at_the_foot_stand_beside_each_other_as_far_as_there_is_room(self):
        images, heatmaps = batch(num=1)
        one, several = self.regions(images), {f"region {i}": torch.ones(1, *images.shape[2:]) for i in range(8)}
        heights = [heatmap_grid(images, {"map": heatmaps}, regions=given).shape[0] for given in ({}, one, several)]
        line = PageLayout(1, 2, 160, 160).line
        assert heights[1] - heights[0] == line
        assert heights[2] - heights[0] >= 2 * line

    def test_images_of_several_sizes(self):
        images = [torch.rand(1, 16, 16), torch.rand(1, 16, 32)]
        maps = [image[0] for image in images]
        drawn = heatmap_grid(images, {"map": maps}, regions={"marker": [map_ > 0.5 for map_ in maps]})
        assert not torch.equal(drawn, heatmap_grid(images, {"map": maps}, regions={"marker": [m > 9 for m in maps]}))

    def test_another_shape_is_said(self):
        images, heatmaps = batch(num=2)
        with pytest.raises(ValueError, match=r'Expected `regions\["marker"\]` to have shape'):
            heatmap_grid(images, {"map": heatmaps}, regions={"marker": torch.zeros(2, 3, 3)})
