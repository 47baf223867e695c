import math
import pickle
import random

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu
from torch.utils.data import DataLoader

from lightning_xai.datasets import ShapesDataset
from lightning_xai.datasets.outlines import OUTLINES

ARRAYS = ("images", "labels", "masks", "boxes", "badge_classes", "badge_masks")


def assert_same(first, second, num_images):
    for name in ARRAYS:
        assert torch.equal(getattr(first, name)[:num_images], getattr(second, name)[:num_images]), name


class TestItems:
    def test_default_collate_makes_batches(self):
        batch = next(iter(DataLoader(ShapesDataset(num_images=8, image_size=40), batch_size=8)))
        assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
            "image": (torch.float32, (8, 3, 40, 40)),
            "label": (torch.int64, (8,)),
            "mask": (torch.bool, (8, 40, 40)),
            "box": (torch.int64, (8, 4)),
        }
        assert 0 <= batch["image"].min() < 0.3 < 0.7 < batch["image"].max() <= 1

    def test_items_are_copies_of_the_arrays(self):
        dataset = ShapesDataset(num_images=3)
        sample = dataset[-1]
        assert sample["label"] == dataset.labels[2]
        torch.testing.assert_close(sample["image"] * 255, dataset.images[2].float())
        for key in ("image", "mask", "box"):
            sample[key].zero_()
        assert_same(dataset, ShapesDataset(num_images=3), 3)

    def test_iteration_ends(self):
        dataset = ShapesDataset(num_images=5)
        assert len(dataset) == len(list(dataset)) == 5
        with pytest.raises(IndexError):
            dataset[5]

    def test_pickles(self):
        dataset = ShapesDataset(num_images=4, shortcut=0.5)
        assert_same(pickle.loads(pickle.dumps(dataset)), dataset, 4)


class TestRandomness:
    def test_same_seed_same_images(self):
        assert_same(ShapesDataset(num_images=40, shortcut=0.9, seed=3), ShapesDataset(40, shortcut=0.9, seed=3), 40)

    @pytest.mark.parametrize("num_images", [1, 31, 32, 33, 70])
    def test_a_short_dataset_is_the_beginning_of_a_long_one(self, num_images):
        settings = {"shortcut": 0.5, "seed": 5}
        assert_same(ShapesDataset(num_images, **settings), ShapesDataset(100, **settings), num_images)

    def test_seeds_are_disjoint(self):
        images = torch.cat([ShapesDataset(num_images=100, image_size=32, seed=seed).images for seed in range(4)])
        assert len(torch.unique(images.flatten(1), dim=0)) == 400

    def test_global_random_state_is_neither_read_nor_changed(self):
        torch.manual_seed(1)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        first = ShapesDataset(num_images=10, shortcut=0.5)
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])
        assert random.getstate() == before[2]
        torch.manual_seed(2)
        assert_same(first, ShapesDataset(num_images=10, shortcut=0.5), 10)

    def test_number_of_threads_is_left_as_it_was(self):
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            ShapesDataset(num_images=2)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    @pytest.mark.parametrize("num_classes", [2, 3, 8])
    def test_every_cycle_holds_every_class_once_in_random_order(self, num_classes):
        dataset = ShapesDataset(num_images=20 * num_classes, image_size=32, num_classes=num_classes)
        cycles = dataset.labels.view(20, num_classes)
        assert (cycles.sort(dim=1).values == torch.arange(num_classes)).all()
        assert len(cycles.unique(dim=0)) > 1
        assert dataset.classes == tuple(outline.name for outline in OUTLINES[:num_classes])


class TestObjects:
    @pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
    @pytest.mark.parametrize("image_size", [32, 64, 97])
    def test_boxes_are_the_smallest_around_the_masks(self, difficulty, image_size):
        dataset = ShapesDataset(64, image_size, num_classes=8, difficulty=difficulty)
        for mask, box in zip(dataset.masks.numpy(), dataset.boxes.tolist(), strict=True):
            rows, columns = np.nonzero(mask)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert min(box) > 0
            assert max(box) < image_size

    def test_masks_are_where_the_objects_are_seen(self):
        dataset = ShapesDataset(num_images=80, num_classes=8, difficulty="easy")
        for image, mask in zip(dataset.images.float().mean(dim=1).numpy(), dataset.masks.numpy(), strict=True):
            bright = image > threshold_otsu(image)
            seen = ~bright if bright[0, 0] else bright
            assert (seen & mask).sum() / (seen | mask).sum() > 0.9

    def test_masks_show_the_shape_of_the_class(self):
        """Each shape fills its own share of the disc that is as wide as its greatest width."""
        dataset = ShapesDataset(num_images=64, image_size=160, num_classes=8)
        shares = torch.zeros(8, dtype=torch.float64)
        for mask, label in zip(dataset.masks, dataset.labels.tolist(), strict=True):
            points = mask.nonzero().double()
            widest = torch.cdist(points, points).max() + 1
            shares[label] += mask.sum() / (math.pi / 4 * widest**2) / 8
        expected = {"circle": 1.0, "square": 2 / math.pi, "triangle": math.sqrt(3) / math.pi, "ring": 1 - 0.55**2}
        for name, share in expected.items():
            assert shares[dataset.classes.index(name)] == pytest.approx(share, abs=0.05), name

    def test_nothing_but_the_shape_tells_the_class(self):
        dataset = ShapesDataset(num_images=1200, num_classes=4)
        images, masks = dataset.images.double() / 255, dataset.masks[:, None]
        colour = (images * masks).sum((2, 3)) / masks.sum((2, 3))
        surroundings = (images * ~masks).sum((2, 3)) / (~masks).sum((2, 3))
        area = dataset.masks.sum((1, 2), dtype=torch.float64)[:, None]
        for fact in torch.cat([colour, surroundings, area], dim=1).T:
            of_class = torch.stack([fact[dataset.labels == label] for label in range(4)])
            error = fact.std() / math.sqrt(300)
            assert (of_class.mean(dim=1) - fact.mean()).abs().max() < 4 * error

    def test_harder_is_harder_to_see(self):
        contrasts = []
        for difficulty in ("easy", "medium", "hard"):
            dataset = ShapesDataset(num_images=200, difficulty=difficulty)
            brightness, masks = dataset.images.double().mean(dim=1), dataset.masks
            pairs = [(image[mask], image[~mask]) for image, mask in zip(brightness, masks, strict=True)]
            ratios = torch.stack([(on.mean() - off.mean()).abs() / off.std() for on, off in pairs])
            contrasts.append(ratios.mean())
        assert contrasts[0] > 1.3 * contrasts[1] > 1.3**2 * contrasts[2]

    def test_radius_is_the_size_of_the_objects(self):
        """Areas are those of discs whose radii are uniform in the range."""
        dataset = ShapesDataset(400, 96, num_classes=8, radius=(0.09, 0.15))
        radii = (dataset.masks.sum((1, 2)) / math.pi).sqrt() / 96
        assert radii.min() > 0.08
        assert radii.max() < 0.16
        assert abs(radii.mean() - 0.12) < 4 * 0.06 / math.sqrt(12 * 400)
        assert torch.equal(ShapesDataset(8).images, ShapesDataset(8, radius=(0.15, 0.22)).images)  # as "medium" has it
        on_the_centre = [ShapesDataset(100, radius=(one, one)).masks[:, 32, 32].float().mean() for one in (0.08, 0.2)]
        assert on_the_centre[0] < 0.2 < 0.9 < on_the_centre[1]


class TestColours:
    def test_only_the_colour_tells_the_class(self):
        """Mean colour of each object: the nearest of the eight hues is its class's; every object is a disc."""
        dataset = ShapesDataset(160, num_classes=8, cue="colour")
        assert dataset.classes == ("red", "green", "blue", "yellow", "cyan", "magenta", "orange", "violet")
        places = torch.tensor([0, 1 / 3, 2 / 3, 1 / 6, 1 / 2, 5 / 6, 1 / 12, 3 / 4], dtype=torch.float64)
        for image, mask, label in zip(dataset.images.double(), dataset.masks, dataset.labels.tolist(), strict=True):
            red, green, blue = image[:, mask].mean(1).tolist()
            hue = math.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * math.pi)
            distance = (hue - places + 0.5).remainder(1) - 0.5
            assert int(distance.abs().argmin()) == label
            assert mask.sum() / (mask.any(0).sum() * mask.any(1).sum()) == pytest.approx(math.pi / 4, abs=0.08)

    def test_the_rest_is_drawn_as_with_shapes(self):
        shapes, colours = ShapesDataset(64), ShapesDataset(64, cue="colour")
        assert torch.equal(shapes.labels, colours.labels)
        circles = shapes.labels == 0
        assert torch.equal(shapes.masks[circles], colours.masks[circles])
        neither = ~(shapes.masks | colours.masks)
        inner = -torch.nn.functional.max_pool2d(-neither.float()[:, None], 7, 1, 3)  # without anti-aliased edges
        kept = (inner > 0).expand(-1, 3, -1, -1)
        assert torch.equal(shapes.images[kept], colours.images[kept])

    def test_no_badges_beside_colours(self):
        with pytest.raises(ValueError, match="`shortcut` with cue='shape' only"):
            ShapesDataset(4, cue="colour", shortcut=0.5)
        with pytest.raises(ValueError, match="`cue` to be one of 'shape', 'colour'"):
            ShapesDataset(4, cue="color")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_images": 0}, ValueError, "Expected `num_images` to be between 1 and 2147483647"),
        ({"num_images": 4.0}, TypeError, "Expected `num_images` to be an integer, but got 4.0 of type float."),
        ({"num_images": True}, TypeError, "Expected `num_images` to be an integer, but got True of type bool."),
        ({"image_size": 16}, ValueError, "Expected `image_size` to be between 32 and 4096 (in pixels"),
        (
            {"num_classes": 1},
            ValueError,
            "Expected `num_classes` to be between 2 and 8 (the number of shapes), but got 1.",
        ),
        (
            {"num_classes": 9},
            ValueError,
            "Expected `num_classes` to be between 2 and 8 (the number of shapes), but got 9.",
        ),
        ({"seed": -1}, ValueError, "Expected `seed` to be between 0 and 4294967295"),
        (
            {"difficulty": "extreme"},
            ValueError,
            "Expected `difficulty` to be one of easy, medium, hard, but got 'extreme'.",
        ),
        ({"shortcut": 1.5}, ValueError, "agrees with the label, to be in [0, 1], but got 1.5."),
        ({"shortcut": math.nan}, ValueError, "agrees with the label, to be in [0, 1], but got nan."),
        (
            {"shortcut": "0.5"},
            TypeError,
            "Expected `shortcut` to be a probability or None (no badge), but got '0.5'.",
        ),
        (
            {"shortcut": True},
            TypeError,
            "Expected `shortcut` to be a probability or None (no badge), but got True.",
        ),
        ({"radius": 0.1}, TypeError, "Expected `radius` to be a pair (smallest, largest) or None, but got 0.1."),
        ({"radius": ("0.1", 0.2)}, TypeError, "Expected `radius` to hold two numbers, but got ('0.1', 0.2)."),
        ({"radius": (0.2, 0.1)}, ValueError, "from 0.08 to 0.22, the smaller one first, but got (0.2, 0.1)."),
        ({"radius": (0.1, 0.3)}, ValueError, "from 0.08 to 0.22, the smaller one first, but got (0.1, 0.3)."),
    ],
)
def test_errors_name_the_argument(settings, error, message):
    with pytest.raises(error) as caught:
        ShapesDataset(**settings)
    assert message in str(caught.value)
