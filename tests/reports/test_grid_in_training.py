"""Grids of real fits: multi-label multispectral images, in TensorBoard and as files."""

from __future__ import annotations

import re

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, Subset, TensorDataset

import lightning_xai.visualization
from lightning_xai import ExplanationMonitor
from lightning_xai.reports import Grid
from lightning_xai.reports import grid as grid_module
from tests.callbacks._tiny import Module, cheap, fit

CHANNELS = 5


def multispectral():
    """Radiances of several thousand, three findings, of which some images have none."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, CHANNELS, 16, 16, generator=generator) * 2000 + 1000
    labels = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]]).repeat(2, 1).float()
    dataset = TensorDataset((images - 2000) / 600, labels)
    dataset.classes = ["water", "forest", "road"]
    return DataLoader(Subset(dataset, range(12)), 4)


@pytest.fixture
def drawn(monkeypatch):
    """Everything that is handed to the drawing, which draws all the same."""
    seen, draw = [], lightning_xai.visualization.heatmap_grid

    def remember(images, heatmaps, **settings):
        seen.append({**settings, "images": images})
        return draw(images, heatmaps, **settings)

    monkeypatch.setattr(lightning_xai.visualization, "heatmap_grid", remember)
    return seen


def test_many_labels_and_channels_in_tensorboard_and_as_files(tmp_path, drawn):
    logger = TensorBoardLogger(tmp_path)
    grid = Grid(num_images=8, cell_size=32, channels=(4, 2, 0), files=True)
    watched = ExplanationMonitor(metrics=cheap(), num_images=8, reports=grid)
    fit(watched, module=Module(channels=CHANNELS), val=multispectral(), logger=logger, max_epochs=2)
    assert [len(one["correct"]) for one in drawn] == [3, 3, 2, 8] * 2  # in pages for TensorBoard's cards, and whole
    first, second = whole = [drawn[3], drawn[7]]
    assert torch.equal(first["images"], second["images"])  # stretched alike in every epoch
    assert torch.equal(torch.cat([one["images"] for one in drawn[:3]]), first["images"])
    assert [caption for one in drawn[:3] for caption in one["captions"]] == first["captions"]
    for epoch in whole:
        assert len(epoch["correct"]) == 8
        assert None not in epoch["correct"]
        of_labels = [
            re.split("\n(?:predicted|likeliest)", caption)[0].replace("\n", " ") for caption in epoch["captions"]
        ]
        assert set(of_labels) <= {
            "labels water, forest",
            "labels forest, water",
            "no label",
            "labels forest, road",
            "labels road, forest",
            "label water",
        }
        assert of_labels.index("no label") == 6  # these take no turn: they fill what the others leave
    files = sorted((tmp_path / "lightning_logs" / "version_0" / "xai" / "heatmaps").iterdir())
    assert [path.name for path in files] == ["epoch=0000-step=00000001.png", "epoch=0001-step=00000003.png"]
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
    tags = ["xai/heatmaps", "xai/heatmaps_2", "xai/heatmaps_3"]
    assert events.Tags()["images"] == tags
    heights = [[image.height for image in events.Images(tag)] for tag in tags]
    assert all(height < Image.open(files[0]).height for of_tag in heights[2:] for height in of_tag)
    assert [len(of_tag) for of_tag in heights] == [2, 2, 2]


@pytest.mark.parametrize(("rows", "pages"), [(3, 1), (4, 2), (7, 3)])
def test_pages_are_as_full_as_each_other_and_nothing_else_is_drawn(rows, pages, tmp_path, drawn):
    logger = TensorBoardLogger(tmp_path)
    fit(ExplanationMonitor(metrics=cheap(), reports=Grid(rows), num_images=8), logger=logger, default_root_dir=tmp_path)
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
    heights = [events.Images(tag)[0].height for tag in events.Tags()["images"]]
    assert len(heights) == len(drawn) == pages
    assert max(heights) - min(heights) <= (0 if rows % pages == 0 else 160 + 32)  # a row at most


@pytest.mark.parametrize("explainers", [1, 2])
def test_a_page_is_legible_on_a_card_of_tensorboard(explainers):
    """A card is 240 pixels high and about 430 wide; a caption's letters are an eighth of a cell's 160 pixels high."""
    images, rows = torch.rand(8, 3, 64, 64), []
    captions = ["label dog\npredicted cat\nconfidence 0.87\nexplained dog\nprobability 0.10"] * 8
    for count in (grid_module._ROWS_OF_A_CARD, 8):
        heatmaps = {f"explainer {number}": torch.rand(count, 64, 64) for number in range(explainers)}
        height, width, _ = lightning_xai.visualization.heatmap_grid(
            images[:count], heatmaps, captions=captions[:count], cell_size=160, title="epoch 3"
        ).shape
        rows.append(160 / 8 * min(240 / height, 430 / width))
    assert rows[0] > 8.5 > rows[1]


def test_channels_that_the_images_lack_are_refused_before_training(tmp_path):
    watched = ExplanationMonitor(metrics=cheap(), reports=Grid(channels=(7, 1, 0)))
    with pytest.raises(ValueError, match="`channels` to be numbers below 5, as many as the images have"):
        fit(watched, module=Module(channels=CHANNELS), val=multispectral(), default_root_dir=tmp_path)
    assert not list(tmp_path.rglob("*.png"))
