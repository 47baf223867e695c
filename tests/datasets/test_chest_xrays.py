import math
import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_xai.datasets import ChestXraysDataset
from lightning_xai.datasets.chest import Numbers
from lightning_xai.datasets.findings import FINDINGS, draw_chests
from lightning_xai.probing import sample_from_batch

ARRAYS = ("images", "labels", "finding_masks", "annotated", "marker_masks", "border_masks", "site_of_image")
EFFUSION = ChestXraysDataset.classes.index("effusion")


@pytest.fixture(scope="module")
def many():
    """Enough images to count, each with a marker that says nothing."""
    return ChestXraysDataset(1500, 48, marker=0.0, seed=4)


def assert_same(first, second, num_images):
    for name in ARRAYS:
        assert torch.equal(getattr(first, name)[:num_images], getattr(second, name)[:num_images]), name


def has_marker(dataset):
    return dataset.marker_masks.flatten(1).any(1)


def assert_share(column, expected):
    """A share of images is what it should be, within four standard errors."""
    error = math.sqrt(expected * (1 - expected) / len(column))
    assert column.double().mean() == pytest.approx(expected, abs=4 * error)


class TestItems:
    def test_a_batch_is_read_without_a_word(self):
        dataset = ChestXraysDataset(64, marker=0.5)
        batch = next(iter(DataLoader(dataset, batch_size=64)))
        sample = sample_from_batch(batch)
        assert sample.images.shape == (64, 1, 64, 64)
        assert 0 <= sample.images.min() < 0.1 < 0.9 < sample.images.max() <= 1
        assert torch.equal(sample.labels, dataset.labels.float())
        assert sample.ids[12] == "0-00012"
        assert list(sample.regions) == [*dataset.classes, "lesion", "marker", "border"]
        for place, name in enumerate(dataset.classes):
            assert torch.equal(sample.regions[name], dataset.finding_masks[:, place])
        assert torch.equal(sample.regions["lesion"], dataset.finding_masks.any(1))
        assert torch.equal(sample.regions["marker"], dataset.marker_masks)
        assert torch.equal(sample.regions["border"], dataset.border_masks)
        assert batch["site"].tolist() == dataset.site_of_image.tolist()
        given = sample.box_labels >= 0
        assert torch.equal(given, ~sample.boxes.isnan().any(-1))
        assert torch.equal(sample.box_labels[given], torch.arange(5).expand(64, 5)[given])

    def test_boxes_are_the_smallest_around_what_a_reader_marked(self):
        dataset = ChestXraysDataset(100)
        for index in range(100):
            item, masks = dataset[index], dataset.finding_masks[index].numpy()
            for place, finding in enumerate(FINDINGS):
                box = item["boxes"][place].tolist()
                if not (finding.has_box and dataset.annotated[index] and dataset.labels[index, place]):
                    assert np.isnan(box).all()
                    assert item["box_labels"][place] == -1
                    continue
                rows, columns = np.nonzero(masks[place])
                assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert item["box_labels"][place] == place

    def test_items_are_copies_of_the_arrays(self):
        dataset = ChestXraysDataset(3, marker=1.0)
        item = dataset[-1]
        assert item["id"] == "0-00002"
        torch.testing.assert_close(item["image"] * 255, dataset.images[2].float())
        for part in (item["image"], item["label"], *item["regions"].values()):
            part.zero_()
        assert_same(dataset, ChestXraysDataset(3, marker=1.0), 3)

    def test_iteration_ends_and_pickles(self):
        dataset = ChestXraysDataset(5, marker=0.5)
        assert len(dataset) == len(list(dataset)) == 5
        with pytest.raises(IndexError):
            dataset[5]
        assert_same(pickle.loads(pickle.dumps(dataset)), dataset, 5)


class TestRandomness:
    def test_an_image_depends_on_its_seed_and_index_alone(self):
        long = ChestXraysDataset(300, marker=0.5, seed=5)  # drawn in several blocks
        for num_images in (1, 127, 128, 129):
            assert_same(ChestXraysDataset(num_images, marker=0.5, seed=5), long, num_images)

    def test_seeds_are_disjoint(self):
        images = torch.cat([ChestXraysDataset(100, 48, seed=seed).images for seed in range(4)])
        assert len(torch.unique(images.flatten(1), dim=0)) == 400

    def test_global_state_is_neither_read_nor_changed(self):
        torch.manual_seed(1)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), torch.get_num_threads()
        first = ChestXraysDataset(10, marker=0.5)
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])
        assert (random.getstate(), torch.get_num_threads()) == before[2:]
        torch.manual_seed(2)
        assert_same(first, ChestXraysDataset(10, marker=0.5), 10)


class TestFindings:
    def test_they_are_as_frequent_as_said_and_independent(self, many):
        for column, finding in zip(many.labels.unbind(1), FINDINGS, strict=True):
            assert_share(column, finding.prevalence)
        assert_share(~many.labels.any(1), math.prod(1 - finding.prevalence for finding in FINDINGS))
        drawn = torch.cat([many.labels.double(), many.annotated.double()[:, None]], 1)
        others = torch.corrcoef(drawn.T).fill_diagonal_(0)
        assert others.abs().max() < 4 / math.sqrt(len(many))
        assert_share(many.annotated, 0.5)

    def test_masks_say_which_findings_there_are(self, many):
        assert torch.equal(many.finding_masks.flatten(2).any(2), many.labels)
        assert not (many.finding_masks & many.border_masks[:, None]).any()

    @pytest.mark.parametrize("place", range(len(FINDINGS)))
    @pytest.mark.parametrize("size", [48, 160])
    def test_masks_are_where_the_finding_is_seen(self, place, size):
        """The image differs from the healthy one where the mask is."""
        numbers = Numbers(torch.arange(40), seed=3)
        labels = torch.zeros(40, len(FINDINGS), dtype=torch.bool)
        healthy, none = draw_chests(labels, numbers, size)
        labels[:, place] = True
        images, masks = draw_chests(labels, numbers, size)
        mask, change = masks[:, place], (images - healthy).abs()
        assert not none.any()
        assert masks.sum() == mask.sum()
        for one_change, one_mask in zip(change, mask, strict=True):
            assert one_change[one_mask].mean() > 0.06  # a ward's noise on one pixel: 0.04
            assert one_change[~one_mask].mean() < 0.005
        inside = (change * mask).flatten(1).sum(1) / change.flatten(1).sum(1)
        assert inside.min() > 0.6

    def test_sizes_and_sides(self, many):
        areas = many.finding_masks.double().mean((2, 3))
        means = [float(areas[:, place][many.labels[:, place]].mean()) for place in range(len(FINDINGS))]
        assert means[0] == min(means) < 0.01
        assert means[2] == max(means) < 0.1
        for place in (0, 1, 3, 4):  # in one lung
            masks = many.finding_masks[:, place][many.labels[:, place]]
            on_left, on_right = masks[:, :, :24].flatten(1).any(1), masks[:, :, 24:].flatten(1).any(1)
            assert (on_left ^ on_right).all()
            assert_share(on_left, 0.5)


class TestMarker:
    @pytest.mark.parametrize("marker", [0.0, 0.6, 1.0])
    def test_its_argument_is_the_correlation_with_effusion(self, marker, many):
        dataset = many if marker == 0 else ChestXraysDataset(1500, 48, marker=marker, seed=4)
        assert torch.equal(dataset.labels, many.labels)
        assert_share(has_marker(dataset), FINDINGS[EFFUSION].prevalence)
        pair = torch.stack([has_marker(dataset), dataset.labels[:, EFFUSION]]).double()
        correlation = float(torch.corrcoef(pair)[0, 1])
        assert correlation == pytest.approx(marker, abs=4 * (1 - marker) / math.sqrt(len(many)) + 1e-9)

    def test_everything_else_is_the_same_without_it(self, many):
        without = ChestXraysDataset(1500, 48, seed=4)
        assert not without.marker_masks.any()
        changed = (many.images != without.images)[:, 0]
        assert not (changed & ~many.marker_masks).any()
        assert changed.flatten(1).any(1).tolist() == has_marker(many).tolist()
        for name in ("labels", "finding_masks", "border_masks", "site_of_image"):
            assert torch.equal(getattr(many, name), getattr(without, name))

    @pytest.mark.parametrize("size", [48, 64, 97])
    def test_it_is_a_bright_letter_in_an_upper_corner_that_covers_nothing(self, size):
        dataset = ChestXraysDataset(200, size, marker=0.0, seed=1)
        assert not (dataset.marker_masks & dataset.border_masks).any()
        assert not (dataset.marker_masks & dataset.finding_masks.any(1)).any()
        assert not dataset.marker_masks[:, size // 3 :].any()
        masks, pixels = dataset.marker_masks[has_marker(dataset)], dataset.images[has_marker(dataset), 0]
        extent = max(6, size // 8)
        for mask, image in zip(masks, pixels, strict=True):
            assert mask.sum() == extent**2
            letter = (image == 247)[mask].view(extent, extent)
            assert letter[:, 0].all()
            assert letter[-1].all()
            assert not letter[0, -1]
        assert_share(masks[:, :, : size // 2].flatten(1).any(1), 0.5)


class TestSites:
    def test_they_say_nothing_and_look_different(self, many):
        names = many.sites
        assert names == ("clinic", "ward", "practice")
        shares = many.site_of_image.bincount() / len(many)
        assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.04)
        for site in range(3):
            chosen = many.site_of_image == site
            for column in (*many.labels.unbind(1), has_marker(many)):
                error = math.sqrt(0.25 / chosen.sum())
                assert column[chosen].double().mean() == pytest.approx(float(column.double().mean()), abs=4 * error)
        rough, contrast = [], []
        for site in range(3):
            inner = many.images[many.site_of_image == site, 0, 12:36, 8:40].double()
            rough.append(float(inner.diff(dim=-1).diff(dim=-1).abs().mean() / inner.flatten(1).std(1).mean()))
            contrast.append(float(inner.flatten(1).std(1).mean()))
        assert rough[2] < rough[0] < rough[1]
        assert contrast[1] < contrast[0] < contrast[2]

    def test_the_frame_is_dark_and_at_least_a_pixel_wide(self, many):
        assert (many.images[:, 0][many.border_masks] == 5).all()
        for side in (many.border_masks[:, 0], many.border_masks[:, -1], many.border_masks[:, :, 0]):
            assert side.all()
        assert many.border_masks[:, 4:-4, 4:-4].sum() == 0
        assert 0.05 < many.border_masks.double().mean() < 0.2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_images": 0}, ValueError, "`num_images` to be >= 1"),
        ({"num_images": 2.5}, TypeError, "`num_images` to be a whole number"),
        ({"image_size": 47}, ValueError, "`image_size` to be >= 48"),
        ({"marker": 1.2}, ValueError, r"`marker`, a correlation, to be in \[0, 1\], but got 1.2"),
        ({"marker": -0.1}, ValueError, "`marker` to be >= 0"),
        ({"marker": math.nan}, ValueError, "`marker` to be >= 0, but got nan"),
        ({"marker": True}, TypeError, "`marker` to be a number"),
        ({"marker": "L"}, TypeError, "`marker` to be a number"),
        ({"seed": -1}, ValueError, "`seed` to be >= 0"),
    ],
)
def test_errors_say_what_is_expected(settings, error, message):
    with pytest.raises(error, match=message):
        ChestXraysDataset(**settings)
